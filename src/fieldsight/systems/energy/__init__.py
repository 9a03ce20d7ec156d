"""What a network costs in joules, where they go, and what a better memory or MAC would save (paper 08)."""
