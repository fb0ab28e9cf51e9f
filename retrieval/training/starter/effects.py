"""The procedural sounds by name, each with three wordings."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from retrieval.training.starter import effects_living as living
from retrieval.training.starter import effects_nature as nature
from retrieval.training.starter import effects_things as things
from retrieval.training.starter.effect_tools import Rng, Sound, room

CLASSES: dict[str, tuple[Callable[[Rng], Sound], str, str, str]] = {
    "rain": (nature.rain, "rain", "rain falling", "raindrops, a rainy day"),
    "waves": (nature.waves, "sea waves", "ocean waves", "waves on a beach"),
    "wind": (nature.wind, "wind", "wind blowing", "a windy storm"),
    "fire": (nature.fire, "crackling fire", "fire", "a campfire, fireplace"),
    "clock": (things.clock, "clock tick", "ticking clock", "a watch ticking"),
    "heli": (things.heli, "helicopter", "a helicopter flying", "chopper rotor"),
    "car": (things.car, "car engine", "engine idling", "a motor running"),
    "motorcycle": (things.motorcycle, "motorcycle", "motorbike engine", "a moped"),
    "chainsaw": (things.chainsaw, "chainsaw", "a chainsaw cutting wood", "power tool"),
    "drill": (things.drill, "drill", "power drill", "an electric tool"),
    "vacuum": (things.vacuum, "vacuum cleaner", "a hoover", "hair dryer"),
    "saw": (things.saw, "sawing wood", "hand saw", "filing and rasping"),
    "babycry": (living.babycry, "crying baby", "baby cry", "an infant crying"),
    "laugh": (living.laugh, "laughter", "a person laughing", "giggling"),
    "sneeze": (living.sneeze, "sneeze", "a person sneezing", "sneezing"),
    "cough": (living.cough, "cough", "a person coughing", "coughing"),
    "snore": (living.snore, "snoring", "a person snoring", "sleeping"),
    "bark": (living.bark, "dog bark", "a dog barking", "dog"),
    "meow": (living.meow, "cat meowing", "a cat", "meow"),
    "rooster": (living.rooster, "rooster", "a rooster crowing", "cock-a-doodle-doo"),
    "bird": (living.bird, "bird song", "birds chirping", "a bird singing"),
    "cricket": (living.cricket, "cricket", "crickets chirping", "an insect at night"),
    "frog": (living.frog, "frog", "a frog croaking", "frogs"),
    "bee": (living.bee, "bee buzzing", "bees", "a fly, an insect buzzing"),
    "owl": (living.owl, "owl", "an owl hooting", "owl hoot"),
    "siren": (things.siren, "siren", "police siren", "ambulance, fire engine siren"),
    "alarm": (things.alarm, "alarm", "alarm clock beeping", "smoke detector"),
    "phone": (things.phone, "telephone ringing", "a phone ringing", "ringtone"),
    "bell": (things.bell, "church bell", "a bell ringing", "bell"),
    "doorbell": (things.doorbell, "doorbell", "ding-dong", "a door bell"),
    "carhorn": (things.carhorn, "car horn", "honking", "vehicle horn"),
    "train": (things.train, "train", "a train on the rails", "railway"),
    "plane": (things.plane, "airplane", "an aircraft flying", "jet engine"),
    "thunder": (nature.thunder, "thunder", "a thunderstorm", "thunder and lightning"),
    "water": (nature.water, "water drops", "dripping water", "water"),
    "stream": (nature.stream, "stream", "a river flowing", "a brook, running water"),
    "pour": (nature.pour, "pouring water", "water filling a glass", "a water tap"),
    "glass": (nature.glass, "glass breaking", "shattering glass", "broken glass"),
    "footsteps": (living.footsteps, "footsteps", "a person walking", "steps"),
    "knock": (things.knock, "door knock", "knocking on a door", "knocking"),
    "clap": (living.clap, "clapping hands", "hand clap", "clapping"),
    "applause": (living.applause, "applause", "an audience clapping", "crowd applause"),
    "keyboard": (things.keyboard, "keyboard typing", "typing on a computer keyboard", "typewriter"),
    "gun": (nature.gun, "gunshot", "gun fire", "a machine gun shooting"),
    "explosion": (nature.explosion, "explosion", "a bomb exploding", "a blast"),
    "firework": (nature.firework, "fireworks", "firecrackers", "a rocket exploding"),
    "beep": (things.beep, "beep", "electronic beep", "a computer beeping"),
    "whistle": (living.whistle, "whistling", "a person whistling", "whistle"),
    "hum": (nature.hum, "electric hum", "mains hum", "buzzing transformer"),
    "white": (nature.white, "white noise", "static noise", "radio static"),
    "heartbeat": (living.heartbeat, "heartbeat", "heart beating", "a heart"),
    "laser": (things.laser, "laser gun", "a laser", "video game sound"),
}


def make(name: str, *, number: int) -> npt.NDArray[np.float32]:
    """Make one sound of a class, the same for the same number.

    Args:
        name: key of `CLASSES`.
        number: which one.

    Returns:
        float32 [220500], 5 s at 44,100 Hz, peak 0.8.
    """
    rng = np.random.default_rng([zlib.crc32(name.encode()), number])
    sound = room(CLASSES[name][0](rng), rng)
    return np.asarray(sound * (0.8 / max(1e-6, float(np.abs(sound).max()))), dtype=np.float32)
