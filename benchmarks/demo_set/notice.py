"""Write the NOTICE of the demo set: every file, its source, its author and its licence."""

from __future__ import annotations

from pathlib import Path

HEAD = """\
The demo set of crossfind: pictures, sounds and short texts that are there to be found.

Every file below was scaled down, trimmed or levelled and written in a compact format; nothing
else was changed. Sources whose licence asks for its text to be kept are named with it at the
end. No file of this set was used to train the starter model; other tunes played with the same
soundfont were, and other pictures of the same collections. Names are those the
collections give.

file | source | author | licence
"""

MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software
and associated documentation files (the "Software"), to deal in the Software without
restriction, including without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING
BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

TAIL = f"""
Licences

CC0-1.0        https://creativecommons.org/publicdomain/zero/1.0/
CC-BY-2.0      https://creativecommons.org/licenses/by/2.0/
CC-BY-4.0      https://creativecommons.org/licenses/by/4.0/
public-domain  dedicated to the public domain, or free of copyright, as the source says
MIT            the text below, with these copyright lines:
               Grocery Store Dataset: Copyright (c) 2019 Marcus Klasson
               FluidR3 GM: Copyright (c) 2000-2002, 2008 Frank Wen; Copyright (c) 2008 Toby Smithe

{MIT}"""


def write_notice(path: Path, *, items: list[dict[str, str]]) -> None:
    """Write one line for each item, then the licences."""
    lines = [" | ".join((i["path"], i["source"], i["author"], i["licence"])) for i in items]
    path.write_text(HEAD + "\n".join(lines) + "\n" + TAIL, encoding="utf-8")
