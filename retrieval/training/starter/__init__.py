"""The recipe of the starter model: from licensed sources to the files in retrieval/weights."""
