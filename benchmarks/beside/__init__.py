"""
What a foreground feels while jobs run beside it, paced by the governor and not.

    make bench-foreground             every part; about three hours
    QUICK=1 make bench-foreground     the same parts, each in one to five minutes
    python -m benchmarks.beside --only p99 --only surge

Segments of a quarter of a minute alternate, the job on and off, on one server under one open-loop
foreground; each pair begins with the other side than the one before it. The first two seconds of a
segment do not count. The ratio of a pair's sides is judged by the *median of 1-second p99s*, which
needs a sixth of the time that the pooled p99 needs for the same certainty; both are shown, with 80 %
intervals (bootstrap over pairs) and beside the *noise floor*: what random halves of the job-free
segments are to each other. Where the floor is wider than the question, there is no answer yet.

Checkpoints carry a job's cost into the next minute: every score is also held against a longer
job-free baseline from before. How much of the machine the host gave to others stands beside every segment.

*Unpaced* is the same job on the same workers with ``governor = "off"``.

How to find one's way: ``sizes`` says how much is measured and what is wanted; ``segments`` and ``ratios``
turn a foreground's report into figures; ``words`` reads the governor's; ``arms`` are what runs, ``stage``
is where; ``scores`` are the parts in which segments alternate. Every ``part_`` is one part, and
``__main__`` lists them.
"""
