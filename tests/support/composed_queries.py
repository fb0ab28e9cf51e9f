"""Sixty composed queries: what must find the same on the command line, in Python and over HTTP.

They are asked of the world of `colour_media`, 30 files, with three files outside the store:
`./ask/red.png`, `./ask/halves.png` (left half red, right half blue) and `./ask/low.wav`.
"""

from __future__ import annotations

COMPOSED = (
    # sums
    '"red" + "green"', '"red" - "blue"', '"2:red" - blue', '2:"red" - 0.5:"blue"',
    '- "red" + "green"',
    '"red" + "green" + "blue"', '"red" + "green" - "violet"', '"0.25:red" + "0.75:cyan"',
    '3:("red" + "green") - "blue"', '("red" - "green") + ("blue" - "yellow")',
    '"1e1:white" - "black"', '"dark red" + night', '"red" + "2:red"',
    # all of
    '"red" AND "green"', '"red" AND "green" AND "blue"', '"red" AND ("green" + "blue")',
    '("red" - "black") AND ("2:green" + white)', '"word9" AND "red"', '"red" AND "zanzibar"',
    '("red" AND "green") AND "blue"', '"cyan" AND "violet" AND "white" AND "black"',
    # any of
    '"red" OR "green"', '"red" OR "green" OR "blue"', '"red" OR ("green" - "blue")',
    '("red" + "white") OR ("blue" + "black")', '"word19" OR "violet"', '"red" OR "red"',
    '"a red day" OR "green grass"',
    # both
    '("red" OR "blue") AND ("white" + "green")', '"red" AND "green" OR "blue"',
    '"red" OR "green" AND "blue"', '("red" AND "green") OR ("blue" AND "yellow")',
    '("red" OR "green") AND ("blue" OR "yellow")', '(("red" OR "green") AND "blue") OR "white"',
    # stored items
    '#3 + #4', '#4 - #5', '"red" + #7', '2:#3 - "blue"', '#3 OR #7', '#3 AND #7', '#6 AND "red"',
    '(#3 + #4) OR "green"', '"red" - #2 - #9', '#10 + "word9"',
    # files
    './ask/red.png + "green"', '"2:blue" - ./ask/red.png', './ask/low.wav + "red"',
    '"red" AND ./ask/low.wav', './ask/red.png OR ./ask/low.wav', './ask/red.png AND #3',
    './ask/low.wav - #4', '(./ask/red.png + ./ask/low.wav) AND "white"',
    # crops and slices
    './ask/halves.png[0,0,0.4,1]', './ask/halves.png[0.6,0,1,1]',
    './ask/halves.png[0,0,0.4,1] + "green"', './ask/halves.png[0.6,0.1,1,0.9] OR "red"',
    './ask/low.wav[0s:1s]', './ask/low.wav[0.5s:1.5s] + "red"',
    './ask/low.wav[0:1] AND "red"', './ask/halves.png[0,0,0.4,1] - ./ask/halves.png[0.6,0,1,1]',
)  # fmt: skip

assert len(set(COMPOSED)) == 60
