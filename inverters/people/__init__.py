"""The people of the bundled world: a morphable mesh, skin, eyes, hair and clothes, light, and their pictures.

Nobody shown here exists. A person is a row of named numbers, the first entries of the generator's z.
"""
