"""Views of a whole batch at once, made by the accelerator that trains. Knows tensors; nothing of files and processes.

The edits are those of guard.training.edits in kind, strength and frequency, as far as they are arithmetic: writing,
drawn shapes and median filters remain to the views that processors make, which fewer steps then see.
"""
