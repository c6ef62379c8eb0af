"""Fills the blanks of a feed with sure answers, and leaves everything else in the file as it was."""
