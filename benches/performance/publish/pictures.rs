//! The pictures.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::super::failover::{Failovers, Failure};
use super::super::loads::{Figure, Load, Measured, PARTS, one_client};
use super::super::results::Results;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

const SIZE: (u32, u32) = (900, 460);
const FONT: (&str, u32) = ("sans-serif", 14);
const TITLE: (&str, u32) = ("sans-serif", 17);
const COLOURS: [RGBColor; 3] = [
    RGBColor(150, 150, 150),
    RGBColor(40, 120, 200),
    RGBColor(210, 60, 40),
];

/// Latency against throughput, with ever more calls in flight on one client.
pub(super) fn latency(results: &Results, file: &Path) {
    let loads = one_client().into_iter();
    let measured: Vec<_> = loads
        .filter_map(|load| Some((load, Measured::read(results, load)?)))
        .collect();
    if !measured.is_empty() {
        draw_latency(&measured, file).expect("a picture that can be written");
    }
}

fn draw_latency(measured: &[(Load, Measured)], file: &Path) -> Drawn {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(450);
    curves(&left, measured, "median latency", |it| it.p50_us)?;
    curves(&right, measured, "99 of 100 answered within", |it| {
        it.p99_us
    })?;
    root.present()?;
    Ok(())
}

fn curves(area: &Area<'_>, measured: &[(Load, Measured)], title: &str, latency: Figure) -> Drawn {
    let curve = |part| -> Vec<(f64, f64)> {
        let points = measured.iter().map(|(_, measured)| {
            let thousands = measured.median(part, |it| it.calls_per_second) / 1e3;
            (thousands, measured.median(part, latency))
        });
        points.collect()
    };
    let all: Vec<_> = PARTS.iter().flat_map(|(_, part)| curve(*part)).collect();
    let most = all.iter().map(|(x, _)| *x).fold(0.0, f64::max) * 1.08;
    let mut chart = ChartBuilder::on(area)
        .caption(title, TITLE)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..most, span(all.iter().map(|(_, y)| *y)).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("thousand calls a second; the figures: calls in flight")
        .y_desc("microseconds")
        .label_style(FONT)
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|thousands| format!("{thousands:.0}"))
        .y_labels(5)
        .y_label_formatter(&|us| format!("{us:.0}"))
        .draw()?;
    for ((name, part), colour) in PARTS.into_iter().zip(COLOURS) {
        let points = curve(part);
        let line = LineSeries::new(points.clone(), colour.stroke_width(2)).point_size(3);
        let line = chart.draw_series(line)?;
        line.label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
        let labels = std::iter::zip(measured, points).map(|((load, _), point)| {
            Text::new(
                load.in_flight.to_string(),
                point,
                FONT.into_font().color(&colour),
            )
        });
        chart.draw_series(labels)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(FONT)
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE)
        .draw()?;
    Ok(())
}

/// The calls of the client that calls the primary, while that is killed, and the longest gap of
/// every round.
pub(super) fn failover(results: &Results, file: &Path) {
    let read = |failure| Failovers::read(results, failure);
    if let Some(killed) = read(Failure::Kill) {
        let others = [Failure::End, Failure::Stop].map(|failure| read(failure).unwrap_or_default());
        draw_failover(&killed, &others, file).expect("a picture that can be written");
    }
}

fn draw_failover(killed: &Failovers, others: &[Failovers; 2], file: &Path) -> Drawn {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(450);
    calls(&left, killed)?;
    gaps(&right, killed, others)?;
    root.present()?;
    Ok(())
}

fn calls(area: &Area<'_>, killed: &Failovers) -> Drawn {
    const SHOWN_MS: Range<f64> = -5.0..10.0;
    let shown = killed.calls.iter();
    let shown: Vec<_> = shown
        .filter(|(answered, _)| SHOWN_MS.contains(answered))
        .collect();
    let took = span(shown.iter().map(|(_, took)| *took));
    let mut chart = ChartBuilder::on(area)
        .caption("one client's calls when the primary is killed", TITLE)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(62)
        .build_cartesian_2d(SHOWN_MS, took.log_scale())?;
    chart
        .configure_mesh()
        .x_desc("answered, milliseconds after the kill")
        .x_label_formatter(&|ms| format!("{ms:.0}"))
        .y_labels(4)
        .y_label_formatter(&|ms| brief(*ms))
        .y_desc("took, milliseconds")
        .label_style(FONT)
        .light_line_style(TRANSPARENT)
        .draw()?;
    let kill = LineSeries::new([(0.0, 1e-3), (0.0, 1e4)], BLACK.mix(0.5));
    chart.draw_series(kill)?;
    let dots = shown
        .into_iter()
        .map(|call| Circle::new(*call, 2, COLOURS[2].filled()));
    chart.draw_series(dots)?;
    Ok(())
}

fn gaps(area: &Area<'_>, killed: &Failovers, [ended, stopped]: &[Failovers; 2]) -> Drawn {
    let groups = [
        ("undisturbed", &killed.primary.before, COLOURS[0]),
        ("killed", &killed.primary.after, COLOURS[2]),
        ("asked to end", &ended.primary.after, COLOURS[2]),
        ("stopped", &stopped.primary.after, COLOURS[1]),
    ];
    let all = groups.iter().flat_map(|(_, gaps, _)| gaps.iter().copied());
    let mut chart = ChartBuilder::on(area)
        .caption("longest gap between two answers, every round", TITLE)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..groups.len() as f64, span(all).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_desc("milliseconds")
        .y_label_formatter(&|ms| brief(*ms))
        .label_style(FONT)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (group, (name, gaps, colour)) in groups.into_iter().enumerate() {
        let left = group as f64;
        let step = 0.7 / gaps.len().max(1) as f64;
        let dots = gaps.iter().enumerate().map(|(n, gap)| {
            let x = left + 0.15 + step * (n as f64 + 0.5);
            Circle::new((x, *gap), 3, colour.filled())
        });
        chart.draw_series(dots)?;
        let (pixels, _) = chart.plotting_area().get_pixel_range();
        let width = (pixels.end - pixels.start) / 4;
        let at = pixels.start + width * i32::try_from(group)? + width / 8;
        let bottom = i32::try_from(SIZE.1)? - 42;
        area.draw(&Text::new(
            name,
            (at - area.get_pixel_range().0.start, bottom),
            FONT.into_font(),
        ))?;
    }
    Ok(())
}

/// Without the noise of binary fractions.
fn brief(figure: f64) -> String {
    if figure < 1.0 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.0}")
    }
}

/// From below the least to above the most, for a logarithmic axis.
fn span(figures: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, most) = figures.fold((f64::INFINITY, 0.0_f64), |(least, most), it| {
        (least.min(it), most.max(it))
    });
    least / 1.5..most * 2.0
}
