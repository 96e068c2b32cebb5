"""What is missing, who runs it, and where everything lies."""
