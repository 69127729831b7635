"""Measures of what a recurrent network does: functions on tensors, one file for each kind."""
