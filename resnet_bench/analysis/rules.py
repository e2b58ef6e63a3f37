"""The version of the rules that claims are judged by, and the numbers in them. Rules in words: `claims.RULES`."""

from __future__ import annotations

VERSION = 2
DATE = "2026-11-25"
UNRECORDED = 0  # what plan.csv has for runs that were planned before it kept the version

ALPHA = 0.05  # of false verdicts of one kind, in a study as a whole
# Shares of that level: of the first claim (plain nets degrade on the training images), of the second (the gap to their
# residual twins grows), and of all others together.
SHARES = (0.6, 0.3, 0.1)
FIRST, SECOND, OTHERS = range(3)
SIDES = 2  # tests are two-sided, as the 95 % intervals beside them are
MAX_SEEDS = 100  # no more are asked for: the effect is too small to be decided by seeds

MARGIN = 0.5  # points of error
STUCK = 0.95  # of the error of guessing: a network whose mean error is above it has learned nothing
RESPONSE_MARGIN = 1.05  # times
LESION_MARGIN = 10.0  # percent of the way to chance
VANISHED, EXPLODED = 0.01, 100.0  # times the last layer's gradient x weight norm
HEALTHY_STD = 0.01  # of a layer's response

# The paper's section 4.2.
PAPER_STEPS, PAPER_BATCH, PAPER_IMAGES = 64_000, 128, 50_000
PAPER_EPOCHS = PAPER_STEPS * PAPER_BATCH / PAPER_IMAGES  # 163.84
# What "trained" asks for.
EPOCH_SHARE = 0.5  # of the paper's epochs
LAST_SHARE = 0.1  # of the steps, over which
FALL_SHARE = 0.05  # of the error, and the margin in points, is the most that it may fall
