"""
The governor's hands: it probes, samples, decides by :mod:`lull.domain.governor` and publishes.

Runs in a process of its own that never encodes a page: where pages are encoded, the interpreter's
lock adds milliseconds to everything that is timed.
"""
