"""The web app: a gallery of the systems, a page a system, a runs browser, and the same by API.

::

    app.py       the app: pages and routes put together
    pages.py     the page of a system
    tab.py       the tab of a verb: what a page is made of
    context.py   what a page is given: PageContext, Example
    fields.py    options to form fields and back
    form.py      what a form or client sends, as a call
    frame.py     bar and heading of every page
    models.py    which models there are, and the ones that are loaded
    jobs.py      one piece of work: progress, notes, stop
    results.py   what a verb gave, as pictures, facts, tables and files
    render.py    small pieces of HTML
    same.py      the same call as command line and as Python
    api.py       a verb as an API endpoint
    home.py      the gallery
    runs.py      the runs browser
    guard.py     what no request may do
    look.py      theme and style
    serve.py     `fieldsight studio`: port, start, stop

A system takes part by strings in its :class:`~fieldsight.registry.System`:

``examples``
    ``examples() -> Sequence[Example]``: labelled inputs to try, see :class:`~fieldsight.studio.context.Example`.
``page``
    ``page(context: PageContext) -> None``: draws the body of its page, called inside the page.
``routes``
    ``routes(app: FastAPI) -> None``: adds own routes and WebSockets below ``/<id>/``, before Gradio takes the rest.
``studio.png``
    beside the module of its model: its picture in the gallery, 3 : 2, at most 100 kB.

Importing this imports no Gradio.
"""
