"""crossfind: find pictures, sounds and texts by each other."""
