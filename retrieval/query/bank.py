"""Unrelated everyday searches: what the scores of a query are compared with.

Written for this project; wide rather than deep, so that any one store can answer few of them.
"""

from __future__ import annotations

_WORDS = """
tax return form, suspension bridge, chess tournament, dentist chair, volcano eruption, wedding
cake, bicycle repair shop, courtroom sketch, frozen lake, subway map, knitting pattern, radio
telescope, olive harvest, boxing ring, bamboo forest, space shuttle launch, chemistry laboratory,
barber shop, coral reef, cheese market, tractor in a field, ballet rehearsal, passport photo,
lighthouse at night, ice hockey goalie, sewing machine, desert caravan, spiral staircase, hot air
balloon, beehive, printing press, football stadium, grandfather clock, sushi platter, violin maker,
hospital corridor, oil tanker, parking meter, snow plough, pottery wheel, carnival mask, satellite
dish, fishing net, microscope slide, stained glass window, roller coaster, wind turbine, campfire,
traffic jam, birthday party, airport terminal, sand dune, pinball machine, waterfall, x-ray of a
hand, library, cathedral organ, graffiti wall, shopping trolley, tropical beach, surgeon,
fireworks, coal mine, rowing boat, ski jump, bakery window, greenhouse, horse race, motorcycle,
kitchen sink, polar bear, umbrella stand, marching band, telephone booth, rice terrace, spider web,
aquarium, treadmill, tattoo artist, vineyard, blacksmith, crossword puzzle, tent in the mountains,
typewriter, iceberg, skateboard ramp, newspaper kiosk, thunderstorm, laundry line, sculpture
garden, karate lesson, electric guitar, mushroom soup, steam locomotive, magnifying glass, rubber
duck, harbour crane, moon landing, swimming pool, jigsaw, weather forecast, stock exchange, apple
orchard, cable car, dinosaur skeleton, toothbrush, castle ruins, hairdryer, cactus, jet engine,
crying baby, peacock, keyboard typing, church bells, crowd cheering, opera singer, coffee grinder,
footsteps on gravel, glass breaking, lawn mower, whale song, siren of an ambulance, applause, cat
purring, door slamming, drum solo, frogs at night, gunshot, harp music, helicopter, people
laughing, church choir, sneezing, owl hooting, whistling kettle, train horn, water dripping, vacuum
cleaner, wolf howling, zipper, accordion waltz, trumpet fanfare, alarm clock, chainsaw, cow mooing,
heartbeat, rain on a roof, a poem about autumn, minutes of a meeting, a recipe for bread,
instructions for a washing machine, a letter to the landlord, quantum mechanics, the history of
Rome, exchange rates, a job application, football results, a fairy tale, road works, election
campaign, a train timetable, privacy policy, side effects of a medicine, a software licence,
gardening advice, philosophy, a complaint about noise, red, something blue, large and round, old,
broken, made of wood, transparent, striped, tiny, asleep, jumping, running fast, smiling, empty
room, at sunset, black and white, underwater, seen from above, painting of flowers, portrait of a
woman, group of friends, two children playing, man with a hat, cartoon character, logo, screenshot,
map of Europe, bar chart, handwritten note, blueprint, icon, pizza, strawberry, ice cream, glass of
milk, boiled egg, hamburger, pineapple, carrot, chocolate, elephant, snake, butterfly, penguin,
goldfish, camel, kangaroo, squirrel, crocodile, eagle, lobster, hammer, scissors, ladder,
screwdriver, padlock, battery, light bulb, rope, bucket, mirror, candle, shirt, winter coat, high
heels, necklace, sunglasses, backpack, wristwatch, glove, necktie, boot, sofa, bathtub, bookshelf,
carpet, lamp, bed, refrigerator, chandelier, fireplace, window blinds, ship, bus, fire engine,
rocket, canoe, submarine, tram, aeroplane, taxi, sailing boat, pram, river, island, cave, glacier,
canyon, meadow, swamp, cliff, jungle, rainbow, lightning, fog, basketball, tennis racket, surfing,
golf swing, fencing, yoga, archery, diving board, marathon, piano, flute, saxophone, drum, cello,
bagpipes, tambourine, banjo, xylophone, synthesizer
"""

TEXTS: tuple[str, ...] = tuple(" ".join(text.split()) for text in _WORDS.split(","))
"""About 290 texts of one to five words."""
