"""What a browser sees: routes, pages, and the value in the scope."""
