"""`gendkit app`: a page on this computer that scores images and videos; needs the extra "app".

`analyse`, `limits`, `explore`, `report` and `files` are plain functions without Gradio; `ui` lays out
the page and `serve` runs it.
"""
