//! Lingyun's lab and test tools.
