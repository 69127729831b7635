"""Inspection: reports of a training, and pictures of what a trained network computes."""
