"""Everyday words that name what pictures show and sounds sound like; keywords of clusters."""

from __future__ import annotations

__all__ = ["WORDS"]

_TEXT = """
    dog cat horse cow pig sheep goat rabbit mouse bird parrot duck chicken rooster owl eagle
    penguin fish shark whale dolphin frog snake turtle spider insect butterfly bee wasp ant
    elephant lion tiger bear monkey giraffe zebra deer fox wolf squirrel raccoon kangaroo
    crocodile dinosaur person man woman child baby boy girl crowd face hand eye family couple
    portrait selfie house building church castle tower bridge street road city village skyline
    window door stairs kitchen bathroom bedroom office school classroom shop restaurant hospital
    factory museum car truck bus train tram bicycle motorcycle boat ship sailing airplane
    helicopter rocket taxi mountain hill valley forest tree flower rose leaf grass field garden
    farm desert beach sea ocean wave river lake waterfall island cave rock sand snow ice rain
    storm thunder lightning cloud sky sun sunset sunrise moon star night fog wind fire smoke
    food fruit apple banana orange lemon strawberry grape pear peach pineapple melon tomato
    potato carrot onion pepper mushroom cucumber cabbage salad bread cheese egg meat sausage
    pizza pasta rice soup cake chocolate cookie ice-cream coffee tea milk juice water beer wine
    bottle glass cup plate spoon fork knife shirt t-shirt dress skirt trousers jeans shorts
    jacket coat hat cap shoes sneakers boots sandals sock glove scarf bag backpack watch ring
    necklace glasses umbrella chair table bed sofa lamp clock telephone phone computer laptop
    keyboard screen television camera book newspaper letter paper pen pencil scissors key box
    ball toy doll balloon candle hammer saw chainsaw drill screwdriver machine engine motor tool
    ladder football basketball tennis swimming skiing running dancing cycling climbing chess
    game music song piano guitar violin cello harp flute trumpet saxophone clarinet organ
    accordion drum cymbal bell xylophone choir orchestra singing voice speech laughter applause
    crying sneeze cough whistle siren alarm horn explosion gunshot footsteps knocking barking
    meowing crowing chirping ticking typing sawing splashing map chart diagram drawing painting
    cartoon sculpture logo sign text document receipt screenshot wedding party birthday concert
    festival holiday travel protest market parade fireworks red orange yellow green blue purple
    pink brown black white grey pattern stripes
"""

WORDS = tuple(_TEXT.split())
