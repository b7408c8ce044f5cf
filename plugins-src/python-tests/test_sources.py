"""Where code and tests come from. Any Python 3 runs this: `python3 -m unittest discover -s plugins-src/python-tests`."""

import unittest

from sources import first_fence, tests_of

ADD = "def add(a, b):\n    return a + b\n"


class Fences(unittest.TestCase):
    def test_the_first_fence_is_the_code_or_all_of_it(self):
        self.assertEqual(first_fence(ADD), ADD)
        self.assertEqual(first_fence(f"Here:\n```python\n{ADD}```\nand\n```\nx\n```\n"), ADD.rstrip("\n"))
        self.assertEqual(first_fence(f"```\n{ADD}"), ADD)
        self.assertEqual(first_fence("```\n```\n"), "")
        self.assertEqual(first_fence("```python"), "")


class Tests(unittest.TestCase):
    def of(self, reference, prompt="", code=ADD):
        return tests_of(reference, prompt, code)

    def test_each_assert_is_a_test_whatever_else_the_reference_holds(self):
        reference = "import os\nassert add(1, 2) == 3\nassert add(\n    0, 0\n) == 0\nadd(1, 1)\n"
        self.assertEqual(self.of(reference), ["assert add(1, 2) == 3", "assert add(\n    0, 0\n) == 0"])
        self.assertEqual(self.of("assert 'é', 'ö'; assert 1\n"), ["assert 'é', 'ö'", "assert 1"])
        self.assertEqual(self.of(ADD), [])
        self.assertEqual(self.of(""), [])

    def test_of_what_is_no_python_the_lines_that_begin_with_assert_count(self):
        self.assertEqual(self.of("Tests:\n  assert add(1, 2) == 3\nand so on"), ["assert add(1, 2) == 3"])

    def test_a_check_is_called_with_the_last_function_of_the_prompt_or_of_the_code(self):
        check = "def check(candidate):\n    assert candidate(1, 2) == 3\n"
        prompt = "def helper():\n    pass\n\ndef plus(a, b):\n    '''Adds.'''\n"
        self.assertEqual(self.of(check, prompt), [f"{check}\ncheck(plus)"])
        self.assertEqual(self.of(check, "Add two numbers."), [f"{check}\ncheck(add)"])
        called = f"{check}check(add)\n"
        self.assertEqual(self.of(called), [called])

    def test_functions_that_are_named_test_are_a_test_each(self):
        reference = "def near(a, b):\n    assert abs(a - b) < 1\n\ndef test_a():\n    near(add(1, 2), 3)\n    assert add\n"
        self.assertEqual(self.of(reference), [f"{reference}\ntest_a()"])

    def test_methods_of_a_class_of_unittest_are_a_test_each(self):
        reference = "class TestAdd(unittest.TestCase):\n    def test_a(self): pass\n    def near(self): pass\n    def test_b(self): pass\n"
        called = ["TestAdd.setUpClass()\nTestAdd('test_a').debug()", "TestAdd.setUpClass()\nTestAdd('test_b').debug()"]
        self.assertEqual(self.of(reference), [f"{reference}\n{call}" for call in called])
        self.assertEqual(self.of("class Test:\n    def test_a(self): pass\n"), [])

    def test_a_reference_whose_functions_nobody_calls_holds_no_test(self):
        solution = "def add(a, b):\n    assert a is not None\n    return a + b\n"
        self.assertEqual(self.of(solution), [])
        self.assertEqual(self.of(f"{solution}assert add(1, 2) == 3\n"), [f"{solution}assert add(1, 2) == 3\n"])


if __name__ == "__main__":
    unittest.main()
