"""The pages of the sidecar: status, review, search. Rendered here, quick to load, with a keyboard or without a mouse.

One file a page, and one for each thing that pages share; `guard_server.pages.install` puts them into an application.
"""
