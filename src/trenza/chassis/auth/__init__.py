"""Who is asking, and may they: keys, tokens, passports and permissions."""
