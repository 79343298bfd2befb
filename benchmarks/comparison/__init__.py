"""From a table of one's own to an answer: which strategy to use, and what it costs."""
