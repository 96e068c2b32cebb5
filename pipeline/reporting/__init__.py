"""Tables: what a cell is, the published figures, and the formats."""
