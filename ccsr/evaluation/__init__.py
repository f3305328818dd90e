"""What results are worth: quality metrics, stability over seeds (Eq. 4-5), trade-off, plots.

Takes results [H,W,3] in [0,1] and references, gives scores, L-STD maps, figures and report files.
The command line, the page and training read them.
"""
