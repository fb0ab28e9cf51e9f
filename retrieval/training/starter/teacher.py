"""The sentence encoder whose vectors the text table learns: all-MiniLM-L6-v2 in plain torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

_HEADS, _LAYERS, _DIM, _MAX_PIECES = 12, 6, 384, 64


class Teacher:
    """Encode English texts as sentence-transformers would.

    Args:
        folder: holds model.safetensors and tokenizer.json.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        weights = load_file(str(folder / "model.safetensors"))
        # Half the bits are twice as fast where the CPU has AVX512-BF16, and the vectors keep a
        # cosine of .998 and more to those of float32.
        self._w = {key.removeprefix("bert."): value.bfloat16() for key, value in weights.items()}
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_PIECES)
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str], *, batch_size: int = 128) -> npt.NDArray[np.float32]:
        """Encode texts, sorted by length so that little is padded.

        Args:
            texts: in English.
            batch_size: texts at once.

        Returns:
            float32 [N, 384], unit length.
        """
        import torch

        pieces = [e.ids for e in self._tokenizer.encode_batch(list(texts))]
        order = np.argsort([len(p) for p in pieces], kind="stable")
        out = np.zeros((len(pieces), _DIM), dtype=np.float32)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            longest = max(len(pieces[r]) for r in rows)
            ids = torch.zeros(len(rows), longest, dtype=torch.long)
            mask = torch.zeros(len(rows), longest, dtype=torch.bfloat16)
            for place, row in enumerate(rows):
                ids[place, : len(pieces[row])] = torch.tensor(pieces[row])
                mask[place, : len(pieces[row])] = 1.0
            with torch.inference_mode():
                out[rows] = self._forward(ids, mask).float().numpy()
        return out

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as nnf

        w, n, length = self._w, ids.shape[0], ids.shape[1]

        def norm(x: torch.Tensor, name: str) -> torch.Tensor:
            return nnf.layer_norm(x, (_DIM,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)

        def linear(x: torch.Tensor, name: str) -> torch.Tensor:
            return nnf.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

        x = w["embeddings.word_embeddings.weight"][ids]
        x = x + w["embeddings.position_embeddings.weight"][:length]
        x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        seen = mask[:, None, None, :].bool()
        for layer in range(_LAYERS):
            at = f"encoder.layer.{layer}"
            q, k, v = (
                linear(x, f"{at}.attention.self.{part}")
                .view(n, length, _HEADS, _DIM // _HEADS)
                .transpose(1, 2)
                for part in ("query", "key", "value")
            )
            mixed = nnf.scaled_dot_product_attention(q, k, v, attn_mask=seen)
            mixed = linear(
                mixed.transpose(1, 2).reshape(n, length, _DIM), f"{at}.attention.output.dense"
            )
            x = norm(mixed + x, f"{at}.attention.output.LayerNorm")
            inner = nnf.gelu(linear(x, f"{at}.intermediate.dense"))
            x = norm(linear(inner, f"{at}.output.dense") + x, f"{at}.output.LayerNorm")
        summed = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return nnf.normalize(summed.float(), dim=1)
