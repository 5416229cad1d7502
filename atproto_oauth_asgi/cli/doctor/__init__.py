"""``doctor``: a deployed application, as an authorization server and a browser see it.

``visit`` asks, and keeps what came. Everything else looks at that without asking again,
one check a function.
"""
