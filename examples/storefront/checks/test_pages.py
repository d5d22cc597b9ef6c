"""The pages and endpoints answer as they should."""

import json
import os
import unittest
from unittest import mock

import stylesheet  # noqa: F401  (puts the application on the path)

import app


class Pages(unittest.TestCase):
    def test_every_navigation_item_leads_to_a_page(self):
        for name, path, label in app.NAVIGATION:
            with self.subTest(name):
                status, content_type, body = app.respond(path)
                self.assertEqual(status, 200)
                self.assertTrue(content_type.startswith("text/html"))
                self.assertIn(f"<h1>{label}</h1>", body.decode())

    def test_every_page_shows_the_whole_navigation(self):
        body = app.respond("/")[2].decode()
        for name, path, label in app.NAVIGATION:
            self.assertIn(f'<a class="{name}" href="{path}">{label}</a>', body)

    def test_an_unknown_page_is_not_found(self):
        self.assertEqual(app.respond("/nowhere")[0], 404)

    def test_health(self):
        self.assertEqual(app.respond("/healthz")[0], 200)

    def test_version_is_the_commit_that_was_released(self):
        with mock.patch.dict(os.environ, {"MILLRACE_COMMIT": "abc123"}):
            self.assertEqual(json.loads(app.respond("/version")[2]), {"commit": "abc123"})


if __name__ == "__main__":
    unittest.main()
