"""Comparison of methods on test sets: the tables of the paper, their stability, and a report.

A method restores LR pictures, once a seed (`methods`, `other_methods`). Jobs are split over
processes and recorded in a manifest (`jobs`, `manifest`); from its rows the tables and the report
are made (`summary`, `tables`, `html_report`).
"""
