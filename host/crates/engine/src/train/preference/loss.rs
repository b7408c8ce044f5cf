//! The losses of one pair, as functions of the log-probabilities of its two answers: those of TRL's `DPOTrainer`, `CPOTrainer` and
//! `ORPOTrainer`, by their names there (`loss_type`).

use domain::{LossType, Method, TrainConfig};

/// What a run minimizes over each pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss {
    kind: Kind,
    beta: f64,
    /// How likely it is that a pair is the wrong way round.
    smoothing: f64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Against a reference (arXiv 2305.18290).
    Dpo(LossType),
    /// Without one (arXiv 2401.08417); with `simpo` by the mean of the tokens and a margin (arXiv 2405.14734).
    Cpo { loss: LossType, gamma: f64 },
    /// By the odds of both (arXiv 2403.07691).
    Orpo,
}

/// Both answers of a pair, the chosen one first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answers {
    /// Log-probabilities: sums over the tokens.
    pub(super) logps: [f64; 2],
    /// The same by the reference; not read without one.
    pub(super) reference: [f64; 2],
    pub(super) tokens: [f64; 2],
}

/// What a loss makes of a pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    pub(super) loss: f64,
    /// Its derivatives by `Answers::logps`.
    pub(super) by_logp: [f64; 2],
    pub(super) rewards: [f64; 2],
    /// As they are told: sums, or means where the loss is a function of these.
    pub(super) logps: [f64; 2],
    /// ORPO's logarithm of the ratio of both odds.
    pub(super) log_odds: Option<f64>,
}

impl Loss {
    /// `None` for the methods without pairs.
    pub(super) fn of_run(train: &TrainConfig) -> Option<Self> {
        let kind = match train.method {
            Method::Dpo => Kind::Dpo(train.loss_type),
            Method::Cpo => Kind::Cpo {
                loss: train.loss_type,
                gamma: train.simpo_gamma,
            },
            Method::Orpo => Kind::Orpo,
            Method::Lora | Method::Full => return None,
        };
        Some(Self {
            kind,
            beta: train.beta,
            smoothing: train.label_smoothing,
        })
    }

    pub(super) fn has_reference(&self) -> bool {
        matches!(self.kind, Kind::Dpo(_))
    }

    pub(super) fn is_orpo(&self) -> bool {
        matches!(self.kind, Kind::Orpo)
    }

    pub(super) fn of(&self, pair: &Answers) -> Judged {
        match self.kind {
            Kind::Dpo(loss) => self.dpo(loss, pair),
            Kind::Cpo { loss, gamma } => self.cpo(loss, gamma, pair),
            Kind::Orpo => self.orpo(pair),
        }
    }

    fn dpo(&self, loss: LossType, pair: &Answers) -> Judged {
        let (beta, tokens) = (self.beta, pair.tokens);
        let ratio = [0, 1].map(|side| pair.logps[side] - pair.reference[side]);
        let rewards = ratio.map(|ratio| beta * ratio);
        let [chosen, rejected] = rewards;
        let margin = chosen - rejected;
        // The loss, and its derivatives by both rewards.
        let (loss, by_reward) = match loss {
            LossType::Hinge => opposed(hinge(margin)),
            LossType::Ipo => {
                let means = ratio[0] / tokens[0] - ratio[1] / tokens[1];
                let (loss, slope) = square(means - 0.5 / beta);
                let by = |side: usize| slope / beta / tokens[side];
                (loss, [by(0), -by(1)])
            }
            LossType::SigmoidNorm => {
                let (loss, slope) = self.smoothed(chosen / tokens[0] - rejected / tokens[1]);
                (loss, [slope / tokens[0], -slope / tokens[1]])
            }
            LossType::Robust => {
                let flipped = self.smoothing;
                let scale = 1.0 - 2.0 * flipped;
                let loss = (1.0 - flipped) * softplus(-margin) - flipped * softplus(margin);
                let slope = -(1.0 - flipped) * sigmoid(-margin) - flipped * sigmoid(margin);
                opposed((loss / scale, slope / scale))
            }
            LossType::ExoPair => {
                let (won, lost) = (sigmoid(margin), sigmoid(-margin));
                let of_won = -softplus(-margin) - (-self.smoothing).ln_1p();
                let of_lost = -softplus(margin) - self.smoothing.ln();
                let slope = won * lost * (of_won - of_lost);
                opposed((won * of_won + lost * of_lost, slope))
            }
            LossType::NcaPair => (
                softplus(-chosen) + 0.5 * softplus(chosen) + 0.5 * softplus(rejected),
                [
                    0.5 * sigmoid(chosen) - sigmoid(-chosen),
                    0.5 * sigmoid(rejected),
                ],
            ),
            LossType::BcoPair => (
                softplus(-chosen) + softplus(rejected),
                [-sigmoid(-chosen), sigmoid(rejected)],
            ),
            LossType::SppoHard => {
                let (won, by_won) = square(ratio[0] - 0.5 / beta);
                let (lost, by_lost) = square(ratio[1] + 0.5 / beta);
                (won + lost, [by_won / beta, by_lost / beta])
            }
            LossType::ApoZero => (
                sigmoid(-chosen) + sigmoid(rejected),
                [-bell(chosen), bell(rejected)],
            ),
            LossType::ApoDown => (
                sigmoid(chosen) + sigmoid(-margin),
                [bell(chosen) - bell(margin), bell(margin)],
            ),
            // The last one is refused for this method.
            LossType::Sigmoid | LossType::Simpo => opposed(self.smoothed(margin)),
        };
        Judged {
            loss,
            by_logp: by_reward.map(|by| beta * by),
            rewards,
            logps: pair.logps,
            log_odds: None,
        }
    }

    fn cpo(&self, loss: LossType, gamma: f64, pair: &Answers) -> Judged {
        let of_means = matches!(loss, LossType::Ipo | LossType::Simpo);
        let per = pair
            .tokens
            .map(|tokens| if of_means { tokens } else { 1.0 });
        let logps = [0, 1].map(|side| pair.logps[side] / per[side]);
        let margin = logps[0] - logps[1];
        let (loss, slope) = match loss {
            LossType::Hinge => scaled(self.beta, hinge(self.beta * margin)),
            LossType::Ipo => square(margin - 0.5 / self.beta),
            LossType::Simpo => scaled(self.beta, self.smoothed(self.beta * margin - gamma)),
            _ => scaled(self.beta, self.smoothed(self.beta * margin)),
        };
        Judged {
            loss,
            by_logp: [slope / per[0], -slope / per[1]],
            rewards: logps.map(|logp| self.beta * logp),
            logps,
            log_odds: None,
        }
    }

    fn orpo(&self, pair: &Answers) -> Judged {
        let logps = [0, 1].map(|side| pair.logps[side] / pair.tokens[side]);
        // log(1 - e^x) of each mean.
        let odds = logps.map(|logp| logp - (-logp.exp_m1()).ln());
        let log_odds = odds[0] - odds[1];
        let slope = -self.beta * sigmoid(-log_odds);
        let by = |side: usize| slope / -logps[side].exp_m1() / pair.tokens[side];
        Judged {
            loss: self.beta * softplus(-log_odds),
            by_logp: [by(0), -by(1)],
            rewards: logps.map(|logp| self.beta * logp),
            logps,
            log_odds: Some(log_odds),
        }
    }

    /// -log σ(x), with a share of pairs the wrong way round; and its derivative.
    fn smoothed(&self, x: f64) -> (f64, f64) {
        let flipped = self.smoothing;
        let loss = (1.0 - flipped) * softplus(-x) + flipped * softplus(x);
        (loss, flipped * sigmoid(x) - (1.0 - flipped) * sigmoid(-x))
    }
}

/// A function of the margin, as one of both rewards.
fn opposed((loss, slope): (f64, f64)) -> (f64, [f64; 2]) {
    (loss, [slope, -slope])
}

/// A function of a multiple of x, as one of x.
fn scaled(factor: f64, (loss, slope): (f64, f64)) -> (f64, f64) {
    (loss, factor * slope)
}

fn hinge(x: f64) -> (f64, f64) {
    match x < 1.0 {
        true => (1.0 - x, -1.0),
        false => (0.0, 0.0),
    }
}

fn square(x: f64) -> (f64, f64) {
    (x * x, 2.0 * x)
}

/// log(1 + e^x).
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The derivative of [`sigmoid`].
fn bell(x: f64) -> f64 {
    sigmoid(x) * sigmoid(-x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With answers that are far apart and near, likelier than the reference and less likely.
    #[test]
    fn every_derivative_is_that_of_its_loss() {
        use LossType::*;
        let of_dpo = [
            Sigmoid,
            Hinge,
            Ipo,
            Robust,
            ExoPair,
            NcaPair,
            BcoPair,
            SppoHard,
            ApoZero,
            ApoDown,
            SigmoidNorm,
        ];
        let of_cpo = [Sigmoid, Hinge, Ipo, Simpo];
        let dpo = of_dpo.map(|loss| (Method::Dpo, loss));
        let cpo = of_cpo.map(|loss| (Method::Cpo, loss));
        for (method, loss_type) in dpo.into_iter().chain(cpo).chain([(Method::Orpo, Sigmoid)]) {
            for smoothing in [0.0, 0.2] {
                if loss_type == ExoPair && smoothing == 0.0 {
                    continue;
                }
                let loss = Loss::of_run(&TrainConfig {
                    method,
                    loss_type,
                    label_smoothing: smoothing,
                    ..TrainConfig::default()
                });
                let loss = loss.unwrap();
                for logps in [[-12.0, -15.5], [-31.0, -9.0], [-7.0, -90.0]] {
                    let pair = Answers {
                        logps,
                        reference: [-14.0, -14.5],
                        tokens: [5.0, 8.0],
                    };
                    let judged = loss.of(&pair);
                    for side in 0..2 {
                        let moved = |by: f64| {
                            let mut moved = pair;
                            moved.logps[side] += by;
                            loss.of(&moved).loss
                        };
                        let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                        let got = judged.by_logp[side];
                        assert!(
                            (got - slope).abs() < 1e-6 * slope.abs().max(1.0),
                            "{method:?} {loss_type:?} {logps:?}: {got}, {slope}"
                        );
                    }
                }
            }
        }
    }
}
