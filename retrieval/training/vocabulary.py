"""Words that captions are made of, written for this project: things that are seen and heard."""

from __future__ import annotations

# thing: what it does that is heard (comma-separated), or nothing.
THINGS: dict[str, tuple[str, ...]] = {
    name.strip(): tuple(v.strip() for v in verbs.split(",") if v.strip())
    for name, _, verbs in (
        line.partition(":")
        for line in """
dog: barking, howling, growling, panting
puppy: whining, yapping
cat: meowing, purring, hissing
kitten: mewing
lion: roaring
tiger: growling
bear: grunting
wolf: howling
horse: neighing, galloping, snorting
donkey: braying
cow: mooing
sheep: bleating
goat: bleating
pig: oinking, squealing
rooster: crowing
hen: clucking
duck: quacking
goose: honking
turkey: gobbling
owl: hooting
crow: cawing
parrot: squawking, talking
pigeon: cooing
songbird: chirping, singing
seagull: crying
eagle: screeching
penguin: calling
frog: croaking
cricket: chirping
bee: buzzing
fly: buzzing
mosquito: whining
snake: hissing
rattlesnake: rattling
elephant: trumpeting
monkey: screaming, chattering
mouse: squeaking
squirrel: chattering
dolphin: clicking, whistling
whale: singing
seal: barking
car: honking, driving past, starting, skidding
sports car: revving
truck: rumbling, reversing
bus: stopping, passing by
motorcycle: revving, racing past
bicycle: ringing its bell
train: whistling, rolling over the tracks
tram: rattling past
subway: arriving
airplane: taking off, flying overhead
helicopter: hovering, flying
rocket: launching
ship: sounding its horn
boat: puttering
sailing boat: creaking
canoe: gliding through the water
ambulance: wailing
fire engine: blaring its siren
police car: racing with its siren
tractor: chugging
excavator: digging
lawn mower: mowing
chainsaw: cutting wood
hammer: hitting a nail
saw: sawing wood
drill: drilling
sewing machine: stitching
typewriter: clacking
computer keyboard: typing
computer mouse: clicking
printer: printing
telephone: ringing
mobile phone: vibrating, ringing
alarm clock: beeping, ringing
clock: ticking, striking
pocket watch: ticking
church bell: tolling
doorbell: ringing
bicycle bell: ringing
door: creaking, slamming, being knocked on
window: breaking, rattling
glass: breaking, clinking
bottle: being opened
can: being opened
cup: clattering
plate: breaking
knife: chopping vegetables
frying pan: sizzling
kettle: whistling, boiling
coffee machine: brewing
blender: whirring
microwave oven: beeping
vacuum cleaner: humming
washing machine: spinning
hair dryer: blowing
toothbrush: brushing
toilet: flushing
tap: dripping, running
shower: running
fan: whirring
air conditioner: humming
refrigerator: humming
fireplace: crackling
camp fire: crackling
candle:
match: being struck
fireworks: exploding, crackling
gun: firing
cannon: firing
waterfall: roaring
river: flowing
stream: babbling
sea: roaring
wave: crashing on the shore
rain: falling, pattering
thunderstorm: rumbling
lightning: striking
wind: blowing, howling
snow:
volcano: erupting
piano: playing
electric guitar: playing a riff
acoustic guitar: being strummed
bass guitar: playing
violin: playing
cello: playing
harp: being plucked
banjo: being picked
drum: being beaten
drum kit: playing a beat
cymbal: crashing
tambourine: shaking
xylophone: playing
trumpet: playing
trombone: playing
saxophone: playing
flute: playing
clarinet: playing
harmonica: playing
accordion: playing
church organ: playing
bagpipes: playing
orchestra: playing
choir: singing
brass band: marching
singer: singing
rock band: playing
man: speaking, laughing, coughing, snoring, shouting
woman: speaking, laughing, singing, sneezing
child: laughing, playing, shouting
baby: crying, babbling, laughing
old man: talking
crowd: cheering, applauding, chatting
audience: clapping
teacher: talking
cook: frying
worker: hammering
football player: kicking a ball
basketball: bouncing
tennis ball: being hit
swimmer: splashing
dancer: tapping
runner: running
horse carriage: clattering
footsteps: walking
zipper: being pulled
book: being leafed through
newspaper: rustling
pencil: scribbling
coin: falling
keys: jingling
chair: scraping
bed: creaking
toy: squeaking
balloon: popping
whistle: blowing
robot: beeping
camera: clicking
arcade machine: beeping
dice: rolling
""".strip().splitlines()
    )
}

SILENT = [
    word.strip()
    for word in """
apple, banana, orange, lemon, strawberry, cherry, grape, pineapple, watermelon, pear, peach,
tomato, carrot, potato, onion, mushroom, pepper, corn, bread, cheese, egg, cake, pie, pizza,
hamburger, sandwich, ice cream, cookie, chocolate, soup, salad, noodles, rice, sushi, coffee,
tea, juice, milk, wine, beer, tree, palm tree, pine tree, flower, rose, sunflower, tulip,
cactus, leaf, grass, forest, meadow, field, mountain, hill, valley, desert, beach, island, lake,
cave, cliff, rock, cloud, sky, rainbow, moon, sun, star, planet, house, castle, church, tower,
bridge, lighthouse, skyscraper, tent, barn, farm, village, city, street, road, garden, park,
fountain, fence, wall, stairs, table, sofa, lamp, mirror, carpet, curtain, shelf, box, bag,
backpack, suitcase, basket, umbrella, hat, cap, helmet, shirt, jacket, coat, dress, skirt,
trousers, shoe, boot, sock, glove, scarf, belt, ring, necklace, crown, sunglasses, mask, flag,
map, letter, envelope, painting, statue, trophy, medal, kite, doll, teddy bear, puzzle, chess
board, playing card, ladder, bucket, broom, shovel, rope, chain, lock, anchor, compass,
telescope, microscope, battery, light bulb, plug, magnet, scissors, needle, button, brush, comb,
soap, towel, pillow, blanket, fork, spoon, bowl, pot, butterfly, ladybug, spider, ant, snail,
worm, fish, goldfish, shark, octopus, crab, lobster, starfish, jellyfish, turtle, lizard,
crocodile, dinosaur, dragon, rabbit, hamster, hedgehog, fox, deer, moose, camel, giraffe, zebra,
rhinoceros, hippopotamus, kangaroo, koala, panda, gorilla, bat, swan, flamingo, peacock, doctor,
nurse, soldier, king, queen, knight, wizard, witch, clown, pirate, astronaut, farmer, painter
""".replace("\n", " ").split(",")
]

ADJECTIVES = [
    "red",
    "blue",
    "green",
    "yellow",
    "orange",
    "purple",
    "pink",
    "black",
    "white",
    "brown",
    "grey",
    "golden",
    "silver",
    "small",
    "big",
    "tiny",
    "huge",
    "old",
    "new",
    "young",
    "fast",
    "slow",
    "loud",
    "quiet",
    "happy",
    "sad",
    "angry",
    "wet",
    "dry",
    "hot",
    "cold",
    "dirty",
    "clean",
    "wooden",
    "metal",
    "glass",
    "broken",
    "shiny",
    "dark",
    "bright",
    "wild",
    "tame",
    "sleepy",
    "busy",
    "empty",
]

PLACES = [
    place.strip()
    for place in """
in the forest, on a street, in a kitchen, in a garden, on a beach, by the sea, in the rain, at
night, in a park, on a farm, in a room, in the city, on a mountain, in a field, near a river, in
a church, at a station, on stage, in a concert hall, in a workshop, in an office, in a school,
under water, in the snow, in the distance, from far away, in a stadium, in a cafe, in a living
room, in the desert
""".replace("\n", " ").split(",")
]
