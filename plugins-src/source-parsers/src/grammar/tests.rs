use crate::{Report, Severity, analyze};

fn report(language: &str, code: &str) -> Report {
    let report = analyze(code, Some(language), None, 10).unwrap();
    let errors = report.findings.iter();
    let errors: Vec<_> = errors
        .filter(|found| found.severity == Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{language}: {errors:?}");
    report
}

fn functions(report: &Report) -> Vec<(&str, u32, u32)> {
    let functions = report.functions.iter();
    functions
        .map(|f| (f.name.as_str(), f.line, f.complexity))
        .collect()
}

#[test]
fn the_grammar_of_c_finds_what_cpp_includes() {
    let code = "\
#pragma once
#include <vector>
#include \"a/b.h\"
namespace n {
template <typename T, int N = 3> class A : public B<T> {
 public:
  using value = T;
  ~A() noexcept override = default;
  auto operator()(const T& x) const -> decltype(x + 1) { return [&](auto y) { return y; }(x); }
};
#ifdef __linux__
#include <unistd.h>
#endif
}  // namespace n
extern \"C\" {
#include \"c.h\"
}
constexpr auto s = R\"(#include <not.h>)\";
#include <map>
";
    let by = |language| analyze(code, Some(language), None, 10).unwrap().imports;
    let included = ["vector", "a/b.h", "unistd.h", "c.h", "map"];
    assert_eq!(by("c"), included);
    assert_eq!(by("c++"), included);
}

#[test]
fn go_counts_cases_and_operators_and_takes_closures_in() {
    let code = "\
package p

import (
	\"fmt\"
	x \"a/b\"
)

type A struct{ n int }
type I interface{ M() }
type N int

func (a *A) M() {
	switch a.n {
	case 1, 2:
	case 3:
	default:
	}
}

func f(c chan int) {
	for i := range c {
		if i > 1 && i < 9 || i == 0 {
			go func() {
				if true {
				}
			}()
		}
	}
	select {
	case <-c:
	default:
	}
}
";
    let report = report("go", code);
    assert_eq!(report.imports, ["fmt", "a/b"]);
    assert_eq!(functions(&report), [("M", 12, 3), ("f", 20, 7)]);
    assert_eq!((report.num_classes, report.complexity), (2, 10));
}

#[test]
fn java_counts_methods_with_a_body_and_every_kind_of_class() {
    let code = "\
import java.util.List;
import static a.B.*;

interface I { void m(); default int d() { return 1; } }
record R(int x) { R { if (x < 0) throw new E(); } }
enum E { A }

class K {
    K() { for (var x : y) { } }
    int s(Object o) {
        try { while (a && b) { } } catch (Ex e) { }
        return switch (o) { case String t when t.isEmpty() -> 1; case Integer i -> 2; default -> c ? 3 : 4; };
    }
}
";
    let report = report("java", code);
    assert_eq!(report.imports, ["java.util.List", "a.B.*"]);
    assert_eq!(
        functions(&report),
        [("d", 4, 1), ("R", 5, 2), ("K", 9, 2), ("s", 10, 8)]
    );
    assert_eq!(report.num_classes, 4);
}

#[test]
fn c_names_functions_by_their_innermost_declarator() {
    let code = "\
#include <stdio.h>
#include \"a/b.h\"
struct s { int x; };
struct s *g(void);
static int *(f)(struct s *p) {
    do { p->x ? 1 : 2; } while (p);
    switch (p->x) { case 1: break; default: break; }
    return 0;
}
enum e { A };
";
    let report = report("c", code);
    assert_eq!(report.imports, ["stdio.h", "a/b.h"]);
    assert_eq!(functions(&report), [("f", 5, 4)]);
    assert_eq!(report.num_classes, 2);
}

#[test]
fn cpp_tells_a_reference_from_an_operator() {
    let code = "\
template <class T> class A {
    A(A &&other) = default;
    ~A() { }
    bool operator==(const A &o) const { return x and o.x; }
    operator int() const { return 1; }
    void m(T &&t) { for (auto &v : t) { auto g = [&] { if (v) { } }; } }
};
int ns::A<int>::n() { try { } catch (...) { } return 0; }
";
    let report = report("c++", code);
    let names: Vec<(&str, u32)> = functions(&report)
        .into_iter()
        .map(|(name, _, complexity)| (name, complexity))
        .collect();
    assert_eq!(names[..2], [("~A", 1), ("operator==", 2)]);
    assert!(names[2].0.starts_with("operator int"), "{names:?}");
    assert_eq!(names[3..], [("m", 3), ("ns::A<int>::n", 2)]);
    assert_eq!(report.num_classes, 1);
}

#[test]
fn shell_counts_lists_and_cases() {
    let code = "\
source lib/a.sh
. \"b.sh\"
f() {
  if [[ $1 && $2 ]]; then a && b || c; elif x; then y; fi
  case $1 in
    a) ;;
    *) ;;
  esac
}
function g { while read -r x; do :; done; for i in 1; do :; done; }
";
    let report = report("bash", code);
    assert_eq!(report.imports, ["lib/a.sh", "b.sh"]);
    assert_eq!(functions(&report), [("f", 3, 7), ("g", 10, 3)]);
}

#[test]
fn an_error_has_its_place_and_the_functions_around_it_stay() {
    for (language, code, line, name) in [
        (
            "go",
            "package p\nfunc a() {}\nfunc b( {}\nfunc c() {}\n",
            3,
            "a",
        ),
        (
            "java",
            "class A {\n  void a() {}\n  int x = = 2;\n}\n",
            3,
            "a",
        ),
        ("c", "int a(void) { return 1; }\nint b = ;\n", 2, "a"),
        ("c++", "int a() { return 1; }\nint b = ;\n", 2, "a"),
        ("shell", "a() { :; }\nif x; then\n", 2, "a"),
    ] {
        let report = analyze(code, Some(language), None, 10).unwrap();
        let first = report.findings.first();
        let first = first.unwrap_or_else(|| panic!("{language} parses {code:?}"));
        assert_eq!(first.severity, Severity::Error);
        assert!(first.line >= line, "{language}: {first:?}");
        assert_eq!(report.functions[0].name, name, "{language}");
    }
}

#[test]
fn no_text_trips_a_grammar() {
    let deep = format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000));
    for language in ["go", "java", "c", "c++", "shell"] {
        for code in [
            "",
            "é",
            "\u{0}",
            "f(",
            "#include",
            "import",
            "{{{{",
            deep.as_str(),
        ] {
            analyze(code, Some(language), None, 10).unwrap();
        }
    }
}
