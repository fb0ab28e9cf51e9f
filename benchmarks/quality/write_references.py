"""Keep the starter's own vectors of the demo's probe beside its weights, for `crossfind doctor`.

    python -m benchmarks.quality.write_references

To be run once after the weights have changed; the file's name holds their fingerprint.
"""

from __future__ import annotations

from retrieval.doctor import demo_probe
from retrieval.encoders.references import reference_path, write_references
from retrieval.encoders.registry import open_encoder


def main() -> None:
    """Write the file, and delete those of other weights."""
    encoder = open_encoder("starter", threads=1)
    probe = demo_probe(encoder.media)
    path = reference_path(encoder)
    for old in path.parent.glob("starter.*.selftest.safetensors"):
        old.unlink()
    vectors = {m: encoder.encode(inputs, modality=m) for m, inputs in probe.inputs.items()}
    print(write_references(encoder, vectors))


if __name__ == "__main__":
    main()
