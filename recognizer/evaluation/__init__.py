"""How good a recognizer is: verification, identification, and both for groups of people.

scores          cosines of pairs -> FMR, FNMR, ROC, AUC, EER, thresholds
verification    accuracy by folds of listed pairs, TAR at FAR
all_pairs       every photo against every other, and the pairs that go most wrong
identification  gallery, probes and strangers: ranks, FPIR, FNIR
naming          confusion matrix, precision, recall, F1
groups          FMR and FNMR of groups of people, with intervals; labels reads the groups
photos          which photos, and where the face is
contestants     a baseline of bare pixels, and other people's networks
embedding       vectors of photos by every contestant, remembered between runs
judge           all of it together; report, tables and figures say it
"""
