"""A memory plan as one self-contained HTML page that draws itself from facts."""
