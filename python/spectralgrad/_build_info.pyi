# Written by setup.py.
built_against_torch: str
