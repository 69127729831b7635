"""The training of a task: one loop and several learners.

Nothing outside this folder imports Lightning.
"""
