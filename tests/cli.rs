//! Help, usage errors and the commands that ask no cluster: what is typed and what is answered.

#[test]
fn help_and_usage() {
    trycmd::TestCases::new()
        .case("tests/cli/*.trycmd")
        .env("COLUMNS", "100")
        .insert_var("[VERSION]", env!("CARGO_PKG_VERSION"))
        .expect("a valid variable");
}
