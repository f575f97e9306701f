//! Whole trees, end to end.
