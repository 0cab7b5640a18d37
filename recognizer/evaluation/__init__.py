"""How good a recognizer is: verification, identification, and both for groups of people.

verification    accuracy by folds of listed pairs, TAR at FAR
all_pairs       every photo against every other, and the pairs that go most wrong
identification  gallery and probes: ranks, FPIR, FNIR
naming          confusion matrix, precision, recall, F1
groups          FMR and FNMR of groups of people, with intervals; labels reads the groups
contestants     a baseline of bare pixels, and other people's networks
embedding       vectors of photos by every contestant, remembered between runs
evaluate        all of it together; report, tables and figures say it

Photos and LFW's pairs are in `recognizer.data`, error rates in `recognizer.error_rates`, which
calibration uses as well.
"""
