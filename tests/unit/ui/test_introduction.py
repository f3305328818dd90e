from ccsr.ui.introduction import DESCRIPTION, introduced

PAGE = """<html><head>
<meta property="og:title" content="Gradio" />
<meta
    name="twitter:image"
    content="https://example.org/gradio.jpg"
/>
<meta name="viewport" content="width=device-width" />
</head></html>"""


def test_the_page_says_what_it_is_and_nothing_of_others() -> None:
    said = introduced(PAGE, "https://example.org/ccsr/")
    assert "Gradio" not in said
    assert "gradio.jpg" not in said
    assert 'name="viewport"' in said
    assert 'property="og:image" content="https://example.org/ccsr/share.jpg"' in said
    assert f'name="description" content="{DESCRIPTION}"' in said
