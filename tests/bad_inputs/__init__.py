"""Every row of BAD_INPUTS: files, names, stores and models as nobody should give them."""
