use super::*;

fn report() -> Report {
    let mut report =
        Report::new("Path length").with_columns(&[("nodes", "", 0), ("growth", "", 0), ("mean", "hops", 2)]);
    report.row([1000_usize.into(), "at-once".into(), 3.28125.into()]);
    report.row([10_000_usize.into(), "a, \"b\"".into(), f64::NAN.into()]);
    report.origin = Origin {
        scenario: "hops".to_owned(),
        version: "1.2.3".to_owned(),
        settings: vec![Chosen { name: "seed".to_owned(), value: "7".to_owned(), default: true }],
        repeat: "sim hops --seed=7".to_owned(),
    };
    report.cost = Cost { seconds: 2.0, events: 3_000_000, peak_memory: Some(7_000_000_000) };
    report.figures.push(Figure::Plot(plot()));
    report
}

fn plot() -> Plot {
    Plot {
        name: "hops".to_owned(),
        title: "Mean path length".to_owned(),
        x: Axis::logarithmic("size of the ring (nodes)"),
        y: Axis::linear("mean path length (hops)"),
        series: vec![
            Series::new("measured", Style::Measured, [(1e3, 3.28), (1e4, 4.85), (1e5, f64::NAN)]),
            Series::formula("theory", (1e3, 1e6), true, |nodes| libm::log2(nodes) / 2.0),
            Series::new("paper", Style::Paper, [(1e3, 3.84)]),
        ],
    }
}

/// A directory that is gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("atoll-sim-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory takes another");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_table_says_how_to_repeat_the_run() {
    let text = report().to_table();
    for part in [
        "1,000",
        "3.28",
        "10,000",
        " - ",
        "1,500,000 a second",
        "7.0 GB of memory",
        "atoll-sim 1.2.3",
        "again: sim hops --seed=7",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains("INTERRUPTED"), "{text}");
}

#[test]
fn an_interrupted_run_says_so() {
    let text = Report { interrupted: true, ..report() }.to_table();
    assert!(text.contains("INTERRUPTED"), "{text}");
}

#[test]
fn json_is_one_object_with_rows_by_name() {
    let value: serde_json::Value = serde_json::from_str(&report().to_json().unwrap()).unwrap();
    assert_eq!(value["rows"][0]["mean"], 3.28125);
    assert_eq!(value["rows"][1]["mean"], serde_json::Value::Null);
    assert_eq!(value["settings"]["seed"], "7");
    assert_eq!((&value["version"], &value["interrupted"]), (&"1.2.3".into(), &false.into()));
    assert_eq!(value["figures"][0]["series"][0]["points"][1][1], 4.85);
}

#[test]
fn csv_has_all_digits_and_quotes_what_needs_it() {
    let csv = report().to_csv().unwrap();
    assert_eq!(csv, "nodes,growth,mean (hops)\n1000,at-once,3.28125\n10000,\"a, \"\"b\"\"\",\n");
}

#[test]
fn a_plot_has_its_axes_units_and_legend() {
    let svg = plot().to_svg();
    assert!(svg.starts_with("<svg") || svg.starts_with("<?xml"), "{}", &svg[..80]);
    for part in ["size of the ring (nodes)", "mean path length (hops)", "measured", "theory", "paper", "1,000"] {
        assert!(svg.contains(part), "{part:?} is not in the plot");
    }
}

#[test]
fn figures_go_into_a_file_or_as_both_forms_into_a_directory() {
    let folder = Folder::new("figures");
    let mut report = report();
    report.figures.push(Figure::Plot(Plot { name: "other".to_owned(), ..plot() }));
    let file = folder.0.join("x.png");
    let written = report.write_figures(&file).unwrap();
    assert_eq!(written, [file.clone(), folder.0.join("x-other.png")]);
    let png = std::fs::read(&file).unwrap();
    assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");
    let names: Vec<PathBuf> = report.write_figures(&folder.0).unwrap();
    let names: Vec<String> =
        names.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["hops-hops.svg", "hops-hops.png", "hops-other.svg", "hops-other.png"]);
}

#[test]
fn a_file_that_is_no_picture_is_refused_before_anything_runs() {
    let why = check_figure_path(Path::new("plot.pdf")).unwrap_err();
    assert_eq!(why, "plot.pdf: .pdf is no form of a plot; write .svg, .png or a directory");
    assert!(check_figure_path(Path::new("plots")).is_ok());
}

#[test]
fn a_drawing_is_no_png() {
    let figure = Figure::Drawing { name: "ring".to_owned(), svg: "<svg/>".to_owned() };
    let report = Report { figures: vec![figure], ..Report::default() };
    let error = report.write_figures(Path::new("ring.png")).unwrap_err();
    assert_eq!(error.to_string(), "ring.png: a drawing is SVG; name the file .svg");
}
