"""The demo set that ships with crossfind, its searches, and the page that shows what they found."""
