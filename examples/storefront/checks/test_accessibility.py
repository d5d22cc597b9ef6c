"""All text can be read: contrast of at least 4.5 to 1 (WCAG 2.1 level AA)."""

import unittest

import stylesheet

MINIMUM = 4.5


class Contrast(unittest.TestCase):
    def test_text_stands_out_from_its_background(self):
        for selector, properties in stylesheet.rules().items():
            if "color" not in properties:
                continue
            with self.subTest(selector):
                background = stylesheet.background_of(selector)
                ratio = stylesheet.contrast(properties["color"], background)
                self.assertGreaterEqual(
                    round(ratio, 2),
                    MINIMUM,
                    f"{selector}: {properties['color']} on {background} has a contrast of "
                    f"{ratio:.2f} to 1, at least {MINIMUM} to 1 is needed",
                )


if __name__ == "__main__":
    unittest.main()
