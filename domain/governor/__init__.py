"""
The governor's decisions: what the foreground feels, how fast jobs may therefore work, and who gets how much of it.

Pure: readings and moments arrive as arguments. ``readings`` names the signals, ``baseline`` knows what
is normal, ``law`` decides, ``shares`` divides, ``budget`` is what workers are told and how they obey.
"""
