"""Headless Chromium, and the drivers of the pages that it shows."""
