"""Named recordings that chose how the starter mixes what it hears; none was trained on.

Sounds of Debian's `scratch` (CC BY-SA) and `qabcs-data` (GPL): people, animals, instruments, tools.
ESC-10 stays for the last look (`benchmarks.quality.starter`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.quality.starter_sets import encode_files, opened

# What is heard: files. A file with a capital and a slash is of Scratch, the others are of QABCs.
NAMES = """accordion: accordion
airplane: airplane
baby cry: Human/BabyCry
bagpipes: bagpipes
ball bouncing: football
bear growl: bear
beatboxing: Vocals/BeatBox1 Vocals/BeatBox2
bicycle: bicycle
bird: Animal/Bird bird iora quail sparrow
bubbles: Effects/Bubbles
camera shutter: camera_lens
car: Effects/CarPassing
cat: Animal/Cat Animal/Kitten Animal/Meow cat lynx
cello: cello
chicken: guinea_fowl pheasant
church bell: Effects/BellToll
clapping: Percussion/HandClap
clarinet: clarinet
clock tick: clock watch
computer beeps: Electronic/ComputerBeeps1 Electronic/ComputerBeeps2
cough: Human/Cough-female Human/Cough-male
cow: calf cow yak
crickets: Animal/Cricket Animal/Crickets grasshopper
crow: crow vulture
crowd: Human/PartyNoise
cymbal: Percussion/CymbalCrash Percussion/RideCymbal cymbals
deer: deer
dice rolling: dice
didgeridoo: Instruments/Dijjeridoo
dog bark: Animal/Dog1 Animal/Dog2 dog dogmatix
dolphin: dolphin
door: Effects/DoorClose Effects/DoorCreak
drone propeller: quadrocopter
drums: Music_Loops/DrumMachine Music_Loops/DrumSet1 Music_Loops/DrumSet2 bass_drum drums timpani
duck: Animal/Duck duck
electric guitar: electric_guitar
elephant: elephant
engine: excavator
finger snapping: Human/FingerSnap
fire crackling: fire
flute: flute recorder
footsteps: Human/Footsteps-1 Human/Footsteps-2
french horn: horn natural_horn
frog: frog
gong: Percussion/Gong
goose: Animal/Goose goose heron pelican
guitar: Instruments/GuitarStrum Music_Loops/GuitarChords1 Music_Loops/GuitarChords2 guitar ukulele
harmonica: harmonica
harp: harp
helicopter: helicopter
horse: Animal/Horse Animal/HorseGallop foal horse
insect: moth
keyboard typing: Effects/Typing keyboard
laser: Electronic/Laser1 Electronic/Laser2
laughter: Human/Laugh-female Human/Laugh-male1 Human/Laugh-male2 Human/Laugh-male3 hyena
lion roar: jaguar lion tiger
monkey: chimpanzee little_monkey
motorcycle: Effects/MotorcyclePassing
mouse squeak: jerboa mouse
oboe: oboe
organ: organ
owl: Animal/Owl eagle-owl owl
paper: newspaper
person sneeze: Human/Sneeze-female Human/Sneeze-male
piano: grand_piano piano
pig: pig
raccoon: raccoon
radio: walkie-talkie
rain: umbrella
rattle: Effects/Rattle
robot: robot
rocket: rocket
rooster: Animal/Rooster rooster
running water: Effects/WaterRunning
saxophone: saxophone
scream: Human/Scream-female Human/Scream-male1 Human/Scream-male2
seagull: albatross
sewing machine: Effects/SewingMachine
shaker: Percussion/Shaker maracas
sheep: sheep
singing: Vocals/Singer1 Vocals/Singer2
skateboard: skateboard
slurping: Human/Slurp
speech: Vocals/Come-and-play Vocals/Join-us Vocals/Sing-me-a-song
tractor engine: tractor
train: train
trumpet: Instruments/Trumpet1 Instruments/Trumpet2 trumpet
violin: violin
water drops: Effects/WaterDrop
whale: whale
whistle: whistle
wolf howl: Animal/WolfHowl wolf
xylophone: Music_Loops/Xylo1 Music_Loops/Xylo2 Music_Loops/Xylo3 xylophone
zipper: zipper"""


def named() -> Iterator[tuple[str, str]]:
    """Yield (file without suffix, name) of each recording."""
    for line in NAMES.replace("\n  ", " ").split("\n"):
        name, files = line.split(": ")
        yield from ((file, name) for file in files.split())


def find(file: str, *, scratch: Path, qabcs: Path) -> Path:
    """Find the sound of a name in its package."""
    if "/" not in file:
        return qabcs / f"{file}.ogg"
    base = scratch / file.replace("Music_Loops", "Music Loops")
    return next(p for s in (".wav", ".mp3") if (p := base.with_name(base.name + s)).is_file())


def main() -> None:
    """Print top-1 and top-5 from the names, and the mean average precision the other way."""
    parser = argparse.ArgumentParser(description=__doc__)
    share = Path("/usr/share")
    parser.add_argument("--scratch", type=Path, default=share / "scratch/Media/Sounds")
    parser.add_argument("--qabcs", type=Path, default=share / "qabcs/abcs/all/noises")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--weights", type=Path, help="folder of other starter weights")
    options = parser.parse_args()
    encoder = opened(options.model, weights=options.weights, threads=2)
    files = list(named())
    paths = [find(f, scratch=options.scratch, qabcs=options.qabcs) for f, _ in files]
    names = sorted({name for _, name in files})
    wanted = np.array([names.index(name) for _, name in files])
    heard = encode_files(encoder, paths, modality="audio")
    scores = heard @ encoder.encode(names, modality="text").T
    rank = (scores >= scores[np.arange(len(wanted)), wanted][:, None]).sum(axis=1)
    precisions = []
    for n in range(len(names)):
        right = wanted[np.argsort(-scores[:, n], kind="stable")] == n
        found = np.cumsum(right) / np.arange(1, len(right) + 1)
        precisions.append(float(found[right].mean()))
    row = {"row": "named recordings", "n": len(files), "n_names": len(names)}
    values = {f"top{k}": round(100 * float((rank <= k).mean()), 1) for k in (1, 5)}
    print(json.dumps({**row, **values, "map": round(100 * float(np.mean(precisions)), 1)}))


if __name__ == "__main__":
    main()
