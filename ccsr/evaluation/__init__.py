"""Evaluation: metrics, stability over seeds (CCSR Eq. 4-5), the trade-off, heatmaps and plots.

Takes results [H,W,3] in [0,1] from inference, and references, and gives scores, L-STD maps, figures
and report files. The command line, the page and the scripts of training use them.
"""
