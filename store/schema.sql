CREATE TABLE models (
    model VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    revision VARCHAR,
    weights VARCHAR NOT NULL,
    architecture VARCHAR NOT NULL,
    n_layers INTEGER NOT NULL,
    n_heads INTEGER NOT NULL,
    n_kv_heads INTEGER NOT NULL,
    d_model INTEGER NOT NULL,
    d_head INTEGER NOT NULL,
    n_params BIGINT NOT NULL,
    vocab INTEGER NOT NULL
);
COMMENT ON TABLE models IS 'One row per model that any run has asked about';
COMMENT ON COLUMN models.model IS 'Id of the model: 16 hex characters over weights and configuration';
COMMENT ON COLUMN models.name IS 'Hugging Face id or folder name the model was loaded from';
COMMENT ON COLUMN models.revision IS 'Commit of the Hugging Face repository; NULL for a local folder';
COMMENT ON COLUMN models.weights IS 'Hash over the sorted weight tensors, or the commit that fixes them';
COMMENT ON COLUMN models.architecture IS 'Class of the model as its configuration names it';
COMMENT ON COLUMN models.n_layers IS 'Number of transformer blocks';
COMMENT ON COLUMN models.n_heads IS 'Query heads per block';
COMMENT ON COLUMN models.n_kv_heads IS 'Key and value heads per block; fewer than n_heads under grouped attention';
COMMENT ON COLUMN models.d_model IS 'Width of the residual stream';
COMMENT ON COLUMN models.d_head IS 'Width of one head';
COMMENT ON COLUMN models.n_params IS 'Number of parameters, tied ones counted once';
COMMENT ON COLUMN models.vocab IS 'Rows of the embedding';

CREATE TABLE texts (
    text VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    source VARCHAR,
    tokens VARCHAR NOT NULL,
    n_sequences INTEGER NOT NULL,
    n_tokens BIGINT NOT NULL,
    bos BOOLEAN NOT NULL,
    tokenizer VARCHAR
);
COMMENT ON TABLE texts IS 'One row per tokenised data set that any run has read';
COMMENT ON COLUMN texts.text IS 'Id of the data set: 16 hex characters of the hash of its tokens';
COMMENT ON COLUMN texts.name IS 'What the data set is called in the book';
COMMENT ON COLUMN texts.source IS 'Where it came from: a file, or the generator and its seed';
COMMENT ON COLUMN texts.tokens IS 'SHA-256 of the token ids with lengths and target positions';
COMMENT ON COLUMN texts.n_sequences IS 'Number of sequences';
COMMENT ON COLUMN texts.n_tokens IS 'Number of tokens in all sequences together, BOS included';
COMMENT ON COLUMN texts.bos IS 'Whether position 0 of every sequence holds the BOS token';
COMMENT ON COLUMN texts.tokenizer IS 'Hash of the tokenizer; NULL where token ids were drawn directly';

CREATE TABLE runs (
    run VARCHAR PRIMARY KEY,
    experiment VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    model VARCHAR,
    text VARCHAR,
    parameters VARCHAR NOT NULL,
    started TIMESTAMP NOT NULL,
    seconds DOUBLE NOT NULL,
    status VARCHAR NOT NULL,
    packages VARCHAR NOT NULL,
    device VARCHAR NOT NULL,
    git VARCHAR NOT NULL
);
COMMENT ON TABLE runs IS 'One row per answered question: where every number comes from';
COMMENT ON COLUMN runs.run IS 'Id of the run: the key, 32 hex characters over name, version and question';
COMMENT ON COLUMN runs.experiment IS 'Class name of the experiment';
COMMENT ON COLUMN runs.version IS 'Version of the experiment, raised by hand when its numbers change meaning';
COMMENT ON COLUMN runs.model IS 'The one model asked about (models.model), else what the question calls it; NULL for none or several';
COMMENT ON COLUMN runs.text IS 'The one data set read (texts.text); NULL for none or several';
COMMENT ON COLUMN runs.parameters IS 'The whole question as canonical JSON';
COMMENT ON COLUMN runs.started IS 'When computing began, UTC';
COMMENT ON COLUMN runs.seconds IS 'How long computing took, in seconds';
COMMENT ON COLUMN runs.status IS 'Always done: a run that failed leaves no row';
COMMENT ON COLUMN runs.packages IS 'JSON: versions of Python and of the packages used, and the machine: host, system, processor, cores';
COMMENT ON COLUMN runs.device IS 'What it ran on';
COMMENT ON COLUMN runs.git IS 'Commit of the checkout, with -dirty after local changes; empty outside one';

CREATE TABLE head_scores (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    score VARCHAR NOT NULL,
    data VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    sequence INTEGER,
    value DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    n INTEGER,
    chance DOUBLE
);
COMMENT ON TABLE head_scores IS 'What each attention head does: one row per head, score and data, per sequence and in aggregate';
COMMENT ON COLUMN head_scores.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN head_scores.model IS 'The model (models.model)';
COMMENT ON COLUMN head_scores.text IS 'The data set (texts.text); NULL for scores of the weights alone';
COMMENT ON COLUMN head_scores.score IS 'Name of the score, such as previous_token, induction or bos; norm_q, norm_k, norm_v, norm_o: Frobenius norm of a weight in the rows of the head (of o in the columns; of k and v by key-value head)';
COMMENT ON COLUMN head_scores.data IS 'What was read: text, repeated or ordinal, or a control such as random, shuffled or control; of norms: target, reconstruction or remainder; of summed_attention, retrieval_score, qr_score and qr_ndcg: one fact, or all';
COMMENT ON COLUMN head_scores.layer IS 'Layer, from 0';
COMMENT ON COLUMN head_scores.head IS 'Head within the layer, from 0';
COMMENT ON COLUMN head_scores.sequence IS 'Sequence within the data set, from 0; NULL marks the aggregate over all';
COMMENT ON COLUMN head_scores.value IS 'The score; shares of attention lie in [0, 1], larger is more; effects are ablated minus base';
COMMENT ON COLUMN head_scores.lower IS 'Lower end of the 95 % bootstrap interval over sequences; aggregate rows only';
COMMENT ON COLUMN head_scores.upper IS 'Upper end of the 95 % bootstrap interval over sequences; aggregate rows only';
COMMENT ON COLUMN head_scores.n IS 'Number of sequences (or names, prompts) averaged';
COMMENT ON COLUMN head_scores.chance IS 'The same score under uniform causal attention on the same tokens';

CREATE TABLE head_profiles (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    profile VARCHAR NOT NULL,
    data VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    lag INTEGER NOT NULL,
    value DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    n INTEGER,
    chance DOUBLE
);
COMMENT ON TABLE head_profiles IS 'Where each head looks: mean attention by distance or by lag around a target';
COMMENT ON COLUMN head_profiles.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN head_profiles.model IS 'The model (models.model)';
COMMENT ON COLUMN head_profiles.text IS 'The data set (texts.text)';
COMMENT ON COLUMN head_profiles.profile IS 'offset: by distance from query back to key; induction_lag: by lag around the induction target';
COMMENT ON COLUMN head_profiles.data IS 'What was read: text, repeated, or a control such as random or shuffled';
COMMENT ON COLUMN head_profiles.layer IS 'Layer, from 0';
COMMENT ON COLUMN head_profiles.head IS 'Head within the layer, from 0';
COMMENT ON COLUMN head_profiles.lag IS 'offset: query minus key, 0 or more; induction_lag: key minus target, 0 is the target';
COMMENT ON COLUMN head_profiles.value IS 'Mean attention, in [0, 1]';
COMMENT ON COLUMN head_profiles.lower IS 'Lower end of the 95 % bootstrap interval over sequences';
COMMENT ON COLUMN head_profiles.upper IS 'Upper end of the 95 % bootstrap interval over sequences';
COMMENT ON COLUMN head_profiles.n IS 'Number of sequences averaged';
COMMENT ON COLUMN head_profiles.chance IS 'The same mean under uniform causal attention';

CREATE TABLE model_scores (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    score VARCHAR NOT NULL,
    data VARCHAR NOT NULL,
    sequence INTEGER,
    value DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    n INTEGER,
    chance DOUBLE
);
COMMENT ON TABLE model_scores IS 'Numbers of the whole model, such as its loss on the first and second copy';
COMMENT ON COLUMN model_scores.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN model_scores.model IS 'The model (models.model)';
COMMENT ON COLUMN model_scores.text IS 'The data set (texts.text)';
COMMENT ON COLUMN model_scores.score IS 'Name of the number; losses are in nats per token; needle_share: the answer''s share of the visible tokens';
COMMENT ON COLUMN model_scores.data IS 'What was read: text, repeated, or a control such as random or shuffled';
COMMENT ON COLUMN model_scores.sequence IS 'Sequence within the data set, from 0; NULL marks the aggregate over all';
COMMENT ON COLUMN model_scores.value IS 'The number; a gain is first copy minus second copy, positive when repetition helps';
COMMENT ON COLUMN model_scores.lower IS 'Lower end of the 95 % bootstrap interval over sequences; aggregate rows only';
COMMENT ON COLUMN model_scores.upper IS 'Upper end of the 95 % bootstrap interval over sequences; aggregate rows only';
COMMENT ON COLUMN model_scores.n IS 'Number of sequences averaged';
COMMENT ON COLUMN model_scores.chance IS 'What a model without knowledge would have; NULL where nothing is meant';

CREATE TABLE patterns (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    kind VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    query INTEGER NOT NULL,
    key INTEGER NOT NULL,
    weight FLOAT NOT NULL
);
COMMENT ON TABLE patterns IS 'Post-softmax attention of chosen heads, one row per query and key';
COMMENT ON COLUMN patterns.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN patterns.model IS 'The model (models.model)';
COMMENT ON COLUMN patterns.text IS 'The data set (texts.text)';
COMMENT ON COLUMN patterns.kind IS 'mean: averaged over sequences; example: one sequence, whose tokens are in prompts; ablated: the same under an intervention';
COMMENT ON COLUMN patterns.layer IS 'Layer, from 0';
COMMENT ON COLUMN patterns.head IS 'Head within the layer, from 0';
COMMENT ON COLUMN patterns.query IS 'Position that attends, from 0';
COMMENT ON COLUMN patterns.key IS 'Position attended to, from 0, never after the query';
COMMENT ON COLUMN patterns.weight IS 'Attention from query to key, in [0, 1]; each query sums to 1';

CREATE TABLE prompts (
    run VARCHAR NOT NULL,
    text VARCHAR,
    sequence INTEGER NOT NULL,
    position INTEGER NOT NULL,
    token_id INTEGER NOT NULL,
    token VARCHAR NOT NULL
);
COMMENT ON TABLE prompts IS 'The tokens of sequences that the book shows, one row per position';
COMMENT ON COLUMN prompts.run IS 'The run that showed them (runs.run)';
COMMENT ON COLUMN prompts.text IS 'The data set (texts.text)';
COMMENT ON COLUMN prompts.sequence IS 'Sequence within the data set, from 0';
COMMENT ON COLUMN prompts.position IS 'Position within the sequence, from 0';
COMMENT ON COLUMN prompts.token_id IS 'Id of the token in the vocabulary';
COMMENT ON COLUMN prompts.token IS 'The token as text, its spaces kept';

CREATE TABLE absences (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    score VARCHAR NOT NULL,
    data VARCHAR NOT NULL,
    reason VARCHAR NOT NULL
);
COMMENT ON TABLE absences IS 'Scores that the data or the tokenizer cannot test: absent for a reason, never 0';
COMMENT ON COLUMN absences.run IS 'The run that looked (runs.run)';
COMMENT ON COLUMN absences.model IS 'The model (models.model)';
COMMENT ON COLUMN absences.score IS 'Name of the score that has no rows';
COMMENT ON COLUMN absences.data IS 'The data it was asked on';
COMMENT ON COLUMN absences.reason IS 'Why it cannot be tested, as a sentence';

CREATE TABLE model_parts (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    part VARCHAR NOT NULL,
    layers VARCHAR,
    answer VARCHAR NOT NULL,
    chapters VARCHAR NOT NULL
);
COMMENT ON TABLE model_parts IS 'What a model is made of and what holds of it, measured when it is loaded';
COMMENT ON COLUMN model_parts.run IS 'The run that looked (runs.run)';
COMMENT ON COLUMN model_parts.model IS 'The model (models.model)';
COMMENT ON COLUMN model_parts.part IS 'What was looked at';
COMMENT ON COLUMN model_parts.layers IS 'Layers with this answer, as 0-2, 5; NULL where all that have such a part share it';
COMMENT ON COLUMN model_parts.answer IS 'What was found';
COMMENT ON COLUMN model_parts.chapters IS 'Numbers of the chapters that it matters to';

CREATE TABLE model_chapters (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    chapter VARCHAR NOT NULL,
    score VARCHAR,
    data VARCHAR,
    holds BOOLEAN NOT NULL,
    reason VARCHAR
);
COMMENT ON TABLE model_chapters IS 'Which chapters a model gets: a row for each, and one for each score that it lacks';
COMMENT ON COLUMN model_chapters.run IS 'The run that looked (runs.run)';
COMMENT ON COLUMN model_chapters.model IS 'The model (models.model)';
COMMENT ON COLUMN model_chapters.chapter IS 'Notebook of the chapter';
COMMENT ON COLUMN model_chapters.score IS 'A score that it lacks (absences.score), or a room; NULL for the chapter as a whole';
COMMENT ON COLUMN model_chapters.data IS 'The data of that score (absences.data)';
COMMENT ON COLUMN model_chapters.holds IS 'Whether the model gets the chapter; false for what it lacks';
COMMENT ON COLUMN model_chapters.reason IS 'Why not; NULL where it does';

CREATE TABLE ablations (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    condition VARCHAR NOT NULL,
    family VARCHAR NOT NULL,
    site VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    heads VARCHAR NOT NULL,
    size INTEGER NOT NULL,
    positions VARCHAR NOT NULL,
    receiver VARCHAR,
    scope VARCHAR NOT NULL,
    baseline VARCHAR NOT NULL,
    draw INTEGER
);
COMMENT ON TABLE ablations IS 'Every condition that any run applied to a model: what was replaced, by what, where';
COMMENT ON COLUMN ablations.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN ablations.model IS 'The model (models.model)';
COMMENT ON COLUMN ablations.text IS 'The data set (texts.text)';
COMMENT ON COLUMN ablations.condition IS 'Name of the condition, unique within its run';
COMMENT ON COLUMN ablations.family IS 'What it is for: single, top, random, layer_matched, path, or a name of the experiment';
COMMENT ON COLUMN ablations.site IS 'Where it acts: z, pattern, v, scores, or the input of a receiver';
COMMENT ON COLUMN ablations.method IS 'What stands in: zero, mean, resample, uniform, zero_value, mean_value, mask_key; of components: zero, or what all other masks are';
COMMENT ON COLUMN ablations.heads IS 'Query heads, as L1H4,L2H0; of families that end in _components: components, as h.1.attn.q_proj:12';
COMMENT ON COLUMN ablations.size IS 'Number of heads, or of components';
COMMENT ON COLUMN ablations.positions IS 'Query or key positions, comma separated, or all; relative to a position t where it differs, as t-1';
COMMENT ON COLUMN ablations.receiver IS 'The one input that sees the change, as L3H4.k; NULL where everything downstream does';
COMMENT ON COLUMN ablations.scope IS 'prefill, decode, or prefill+decode';
COMMENT ON COLUMN ablations.baseline IS 'What effects are measured against';
COMMENT ON COLUMN ablations.draw IS 'Number of the random draw, from 0; NULL where nothing was drawn';

CREATE TABLE ablation_effects (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    condition VARCHAR NOT NULL,
    sequence INTEGER NOT NULL,
    scope VARCHAR NOT NULL,
    kl_base_ablated DOUBLE,
    kl_ablated_base DOUBLE,
    js DOUBLE,
    top1_changed DOUBLE,
    loss_change DOUBLE,
    logit_change DOUBLE
);
COMMENT ON TABLE ablation_effects IS 'What a condition changes in the predictions on one sequence, averaged over positions';
COMMENT ON COLUMN ablation_effects.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN ablation_effects.model IS 'The model (models.model)';
COMMENT ON COLUMN ablation_effects.text IS 'The data set (texts.text)';
COMMENT ON COLUMN ablation_effects.condition IS 'The condition (ablations.condition of the same run)';
COMMENT ON COLUMN ablation_effects.sequence IS 'Sequence within the data set, from 0';
COMMENT ON COLUMN ablation_effects.scope IS 'Which positions: all, at the ablated ones, after the first of them, one (at t, at 3), or a part of the sequence';
COMMENT ON COLUMN ablation_effects.kl_base_ablated IS 'KL(base || ablated), nats, 0 or more';
COMMENT ON COLUMN ablation_effects.kl_ablated_base IS 'KL(ablated || base), nats, 0 or more';
COMMENT ON COLUMN ablation_effects.js IS 'Jensen-Shannon divergence, nats, in [0, ln 2]';
COMMENT ON COLUMN ablation_effects.top1_changed IS 'Share of positions whose most probable token changed, in [0, 1]';
COMMENT ON COLUMN ablation_effects.loss_change IS 'Next-token loss, ablated minus base, nats; positive where the model got worse';
COMMENT ON COLUMN ablation_effects.logit_change IS 'Logit of the base most probable token, ablated minus base';

CREATE TABLE ablation_means (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    condition VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    n INTEGER
);
COMMENT ON TABLE ablation_means IS 'Effects of conditions over all sequences, with intervals';
COMMENT ON COLUMN ablation_means.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN ablation_means.model IS 'The model (models.model)';
COMMENT ON COLUMN ablation_means.text IS 'The data set (texts.text)';
COMMENT ON COLUMN ablation_means.condition IS 'The condition (ablations.condition of the same run)';
COMMENT ON COLUMN ablation_means.scope IS 'Which positions, as in ablation_effects';
COMMENT ON COLUMN ablation_means.metric IS 'A column of ablation_effects; where KL and loss_change are estimated by drawn tokens also kl_base_ablated_error, the standard error that the draws leave in both means, and exact_share, the share of positions compared over the whole vocabulary';
COMMENT ON COLUMN ablation_means.value IS 'The mean; effects are ablated minus base';
COMMENT ON COLUMN ablation_means.lower IS 'Lower end of the 95 % bootstrap interval over sequences; aggregate rows only';
COMMENT ON COLUMN ablation_means.upper IS 'Upper end of the 95 % bootstrap interval over sequences; aggregate rows only';
COMMENT ON COLUMN ablation_means.n IS 'Number of sequences averaged';

CREATE TABLE ablation_curves (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    family VARCHAR NOT NULL,
    size INTEGER NOT NULL,
    value DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    n INTEGER NOT NULL,
    p DOUBLE,
    p_holm DOUBLE
);
COMMENT ON TABLE ablation_curves IS 'Ablating the top k heads together, against random sets of the same size';
COMMENT ON COLUMN ablation_curves.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN ablation_curves.model IS 'The model (models.model)';
COMMENT ON COLUMN ablation_curves.method IS 'What stands in, as in ablations';
COMMENT ON COLUMN ablation_curves.metric IS 'A column of ablation_effects';
COMMENT ON COLUMN ablation_curves.family IS 'top, random (drawn among all other heads) or layer_matched (as many in each layer)';
COMMENT ON COLUMN ablation_curves.size IS 'Heads ablated together, k';
COMMENT ON COLUMN ablation_curves.value IS 'top: mean over sequences that the heads were not chosen on; else the mean over draws of such means';
COMMENT ON COLUMN ablation_curves.lower IS 'Lower end of 95 %: of the bootstrap interval for top, of the draws for the others';
COMMENT ON COLUMN ablation_curves.upper IS 'Upper end of 95 %: of the bootstrap interval for top, of the draws for the others';
COMMENT ON COLUMN ablation_curves.n IS 'top: sequences; else draws, or all sets where there are not more';
COMMENT ON COLUMN ablation_curves.p IS 'Permutation p of the top heads against this family, (1 + draws at least as large) / (draws + 1)';
COMMENT ON COLUMN ablation_curves.p_holm IS 'The same, adjusted by Holm over all sizes';

CREATE TABLE rank_agreements (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    other VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    overlap DOUBLE,
    n INTEGER NOT NULL
);
COMMENT ON TABLE rank_agreements IS 'Do two measures rank the heads alike';
COMMENT ON COLUMN rank_agreements.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN rank_agreements.model IS 'The model (models.model)';
COMMENT ON COLUMN rank_agreements.metric IS 'What both measure, as a column of ablation_effects';
COMMENT ON COLUMN rank_agreements.kind IS 'One measure: a kind of ablation, or an estimate';
COMMENT ON COLUMN rank_agreements.other IS 'The other';
COMMENT ON COLUMN rank_agreements.value IS 'Spearman rank correlation over heads, in [-1, 1]';
COMMENT ON COLUMN rank_agreements.lower IS 'Lower end of its 95 % bootstrap interval over sequences';
COMMENT ON COLUMN rank_agreements.upper IS 'Upper end of its 95 % bootstrap interval over sequences';
COMMENT ON COLUMN rank_agreements.overlap IS 'Share of the heads that both have among their strongest quarter, in [0, 1]';
COMMENT ON COLUMN rank_agreements.n IS 'Number of heads';

CREATE TABLE head_effects (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    condition VARCHAR NOT NULL,
    score VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    sequence INTEGER,
    value DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    n INTEGER
);
COMMENT ON TABLE head_effects IS 'What a condition changes in the score of a head';
COMMENT ON COLUMN head_effects.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN head_effects.model IS 'The model (models.model)';
COMMENT ON COLUMN head_effects.text IS 'The data set (texts.text)';
COMMENT ON COLUMN head_effects.condition IS 'The condition (ablations.condition of the same run)';
COMMENT ON COLUMN head_effects.score IS 'The score, as in head_scores';
COMMENT ON COLUMN head_effects.layer IS 'Layer of the scored head, from 0';
COMMENT ON COLUMN head_effects.head IS 'The scored head within its layer, from 0';
COMMENT ON COLUMN head_effects.sequence IS 'Sequence within the data set, from 0; NULL marks the aggregate over all';
COMMENT ON COLUMN head_effects.value IS 'The mean; effects are ablated minus base';
COMMENT ON COLUMN head_effects.lower IS 'Lower end of the 95 % bootstrap interval over sequences; aggregate rows only';
COMMENT ON COLUMN head_effects.upper IS 'Upper end of the 95 % bootstrap interval over sequences; aggregate rows only';
COMMENT ON COLUMN head_effects.n IS 'Number of sequences averaged';

CREATE TABLE head_pairs (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    from_layer SMALLINT NOT NULL,
    from_head SMALLINT NOT NULL,
    to_layer SMALLINT NOT NULL,
    to_head SMALLINT NOT NULL,
    value DOUBLE NOT NULL,
    z DOUBLE,
    rank INTEGER,
    n INTEGER
);
COMMENT ON TABLE head_pairs IS 'How one head bears on a later one: composition of their weights';
COMMENT ON COLUMN head_pairs.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN head_pairs.model IS 'The model (models.model)';
COMMENT ON COLUMN head_pairs.kind IS 'k_composition, q_composition or v_composition';
COMMENT ON COLUMN head_pairs.from_layer IS 'Layer of the earlier head, from 0';
COMMENT ON COLUMN head_pairs.from_head IS 'The earlier head within its layer, from 0';
COMMENT ON COLUMN head_pairs.to_layer IS 'Layer of the later head, from 0';
COMMENT ON COLUMN head_pairs.to_head IS 'The later head within its layer, from 0';
COMMENT ON COLUMN head_pairs.value IS 'The composition, in [0, 1]';
COMMENT ON COLUMN head_pairs.z IS 'Standard deviations above the mean of all pairs of the same kind';
COMMENT ON COLUMN head_pairs.rank IS 'Rank among the pairs of the same kind, 1 is the largest';
COMMENT ON COLUMN head_pairs.n IS 'Number of pairs of the same kind';

CREATE TABLE layer_profiles (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    profile VARCHAR NOT NULL,
    data VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    position INTEGER NOT NULL,
    value DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    n INTEGER
);
COMMENT ON TABLE layer_profiles IS 'A number of every layer and position, such as the norm of the residual stream';
COMMENT ON COLUMN layer_profiles.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN layer_profiles.model IS 'The model (models.model)';
COMMENT ON COLUMN layer_profiles.text IS 'The data set (texts.text)';
COMMENT ON COLUMN layer_profiles.profile IS 'Name of the number, such as residual_norm';
COMMENT ON COLUMN layer_profiles.data IS 'What was read: text, or a control';
COMMENT ON COLUMN layer_profiles.layer IS 'Layer, from 0; the residual stream entering it';
COMMENT ON COLUMN layer_profiles.position IS 'Position within the sequence, from 0';
COMMENT ON COLUMN layer_profiles.value IS 'The mean; effects are ablated minus base';
COMMENT ON COLUMN layer_profiles.lower IS 'Lower end of the 95 % bootstrap interval over sequences; aggregate rows only';
COMMENT ON COLUMN layer_profiles.upper IS 'Upper end of the 95 % bootstrap interval over sequences; aggregate rows only';
COMMENT ON COLUMN layer_profiles.n IS 'Number of sequences averaged';

CREATE TABLE predictions (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    sequence INTEGER NOT NULL,
    position INTEGER NOT NULL,
    condition VARCHAR NOT NULL,
    baseline VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    rank SMALLINT NOT NULL,
    token_id INTEGER NOT NULL,
    token VARCHAR NOT NULL,
    logit DOUBLE NOT NULL,
    change DOUBLE NOT NULL
);
COMMENT ON TABLE predictions IS 'What a model predicts after one position under a condition, and which tokens the condition moved most';
COMMENT ON COLUMN predictions.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN predictions.model IS 'The model (models.model)';
COMMENT ON COLUMN predictions.text IS 'The data set (texts.text), whose tokens are in prompts';
COMMENT ON COLUMN predictions.sequence IS 'Sequence within the data set, from 0';
COMMENT ON COLUMN predictions.position IS 'Position t whose next token is predicted';
COMMENT ON COLUMN predictions.condition IS 'What was done (ablations.condition of the same run); target: nothing';
COMMENT ON COLUMN predictions.baseline IS 'The condition that changes are measured against';
COMMENT ON COLUMN predictions.kind IS 'top: most probable; base_top: what the baseline predicts; riser and faller: largest changes';
COMMENT ON COLUMN predictions.rank IS 'Rank within its kind, from 1';
COMMENT ON COLUMN predictions.token_id IS 'Id of the token in the vocabulary';
COMMENT ON COLUMN predictions.token IS 'The token as text, its spaces kept';
COMMENT ON COLUMN predictions.logit IS 'Its logit under the condition';
COMMENT ON COLUMN predictions.change IS 'Its logit, condition minus baseline';

CREATE TABLE comparisons (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    head VARCHAR,
    components VARCHAR,
    mode VARCHAR,
    method VARCHAR NOT NULL,
    lag INTEGER,
    reference VARCHAR NOT NULL,
    condition VARCHAR NOT NULL,
    layer SMALLINT,
    metric VARCHAR NOT NULL,
    sequence INTEGER,
    value DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    n INTEGER
);
COMMENT ON TABLE comparisons IS 'How two conditions differ at one position: the heads'' outputs of a layer, or the predictions';
COMMENT ON COLUMN comparisons.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN comparisons.model IS 'The model (models.model)';
COMMENT ON COLUMN comparisons.text IS 'The data set (texts.text)';
COMMENT ON COLUMN comparisons.head IS 'The head that condition A ablates, as L1H4; of components, the head that they are cut from, NULL for all';
COMMENT ON COLUMN comparisons.components IS 'The components that condition A ablates, as h.1.attn.q_proj:12,h.1.attn.k_proj:7; NULL for heads';
COMMENT ON COLUMN comparisons.mode IS 'What the other components are: deterministic, stochastic, ... ; NULL for heads';
COMMENT ON COLUMN comparisons.method IS 'How values are ablated in B: zero_value, mean_value or mask_key';
COMMENT ON COLUMN comparisons.lag IS 'How far before the measured position B ablates; NULL where B is not applied';
COMMENT ON COLUMN comparisons.reference IS 'The condition compared with: base or A; target: the model itself';
COMMENT ON COLUMN comparisons.condition IS 'The compared condition: A, B(all), B(specific), A+B(all) or A+B(specific)';
COMMENT ON COLUMN comparisons.layer IS 'Layer whose attention output is compared, from 0; NULL for the predictions';
COMMENT ON COLUMN comparisons.metric IS 'nip: <x, y> / |x|^2; cosine; distance2: |x - y|^2; kl: KL(x || y), nats, and kl_median; redundancy: the index R; log_ratio: of predictions, log KL(base || B) - log KL(A || A+B); both have medians; redundancy_pooled: R from sums over sequences; effective_n: of the mean of kl or distance2, (sum)^2 / sum of squares; undefined, at_floor: share of sequences without R or log_ratio, and with one KL counted as what rounding may make; of components: effect, the change of the probability of the target''s token, effect_se, its standard error over draws of masks, and harm, KL(target || A) - KL(target || base), nats';
COMMENT ON COLUMN comparisons.sequence IS 'Sequence within the data set, from 0; NULL marks the aggregate over all';
COMMENT ON COLUMN comparisons.value IS 'The number; an index R of 1 says that A leaves nothing for B to remove, 0 that B removes as much as before';
COMMENT ON COLUMN comparisons.lower IS 'Lower end of the 95 % interval over sequences: of means by bootstrap, of medians by order statistics; aggregate rows only';
COMMENT ON COLUMN comparisons.upper IS 'Upper end of the 95 % interval over sequences: of means by bootstrap, of medians by order statistics; aggregate rows only';
COMMENT ON COLUMN comparisons.n IS 'Number of sequences that count';

CREATE TABLE decompositions (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    decomposition VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    n INTEGER
);
COMMENT ON TABLE decompositions IS 'How good a decomposition is';
COMMENT ON COLUMN decompositions.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN decompositions.model IS 'The model (models.model)';
COMMENT ON COLUMN decompositions.text IS 'The data set (texts.text)';
COMMENT ON COLUMN decompositions.decomposition IS 'The decomposition: 16 hexadecimal digits of the hash of its weights';
COMMENT ON COLUMN decompositions.metric IS 'ones, stochastic, rounded, adversarial, adversarial_token, zero: KL(target || masked) in nats a token; l0: components of importance above 0 at a token; components: how many there are; alive, alive_01: those whose mean importance is above .000001, .01; sees_future: 1 where importances depend on later tokens, else 0';
COMMENT ON COLUMN decompositions.value IS 'The number';
COMMENT ON COLUMN decompositions.lower IS 'Lower end of the 95 % bootstrap interval over sequences';
COMMENT ON COLUMN decompositions.upper IS 'Upper end of the 95 % bootstrap interval over sequences';
COMMENT ON COLUMN decompositions.n IS 'Number of sequences averaged';

CREATE TABLE decomposition_losses (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    decomposition VARCHAR NOT NULL,
    step INTEGER NOT NULL,
    loss VARCHAR NOT NULL,
    value DOUBLE NOT NULL
);
COMMENT ON TABLE decomposition_losses IS 'Losses while a decomposition was trained';
COMMENT ON COLUMN decomposition_losses.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN decomposition_losses.model IS 'The model (models.model)';
COMMENT ON COLUMN decomposition_losses.decomposition IS 'The decomposition: 16 hexadecimal digits of the hash of its weights';
COMMENT ON COLUMN decomposition_losses.step IS 'Optimizer steps done';
COMMENT ON COLUMN decomposition_losses.loss IS 'stochastic, adversarial, importance or faithfulness, before its weight; seconds: since the training was last started';
COMMENT ON COLUMN decomposition_losses.value IS 'Mean since the row before';

CREATE TABLE components (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    decomposition VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    projection VARCHAR NOT NULL,
    component INTEGER NOT NULL,
    mean_importance DOUBLE NOT NULL,
    density DOUBLE NOT NULL,
    mean_activation DOUBLE NOT NULL,
    mean_magnitude DOUBLE NOT NULL,
    norm DOUBLE NOT NULL,
    spread DOUBLE NOT NULL
);
COMMENT ON TABLE components IS 'Every component of a decomposition, and how it fires on a text';
COMMENT ON COLUMN components.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN components.model IS 'The model (models.model)';
COMMENT ON COLUMN components.text IS 'The data set (texts.text)';
COMMENT ON COLUMN components.decomposition IS 'The decomposition: 16 hexadecimal digits of the hash of its weights';
COMMENT ON COLUMN components.layer IS 'Layer, from 0';
COMMENT ON COLUMN components.projection IS 'Which weight of the layer''s attention: q, k, v or o';
COMMENT ON COLUMN components.component IS 'Component of that weight, from 0';
COMMENT ON COLUMN components.mean_importance IS 'Mean causal importance over all tokens, in [0, 1]';
COMMENT ON COLUMN components.density IS 'Share of tokens at which its importance is above 0';
COMMENT ON COLUMN components.mean_activation IS 'Mean activation x . V where it fires, signed';
COMMENT ON COLUMN components.mean_magnitude IS 'Mean absolute activation where it fires';
COMMENT ON COLUMN components.norm IS 'Frobenius norm of its rank-one weight';
COMMENT ON COLUMN components.spread IS 'Entropy of its squared norm over heads, nats; ln(n_heads) for all alike';

CREATE TABLE component_scores (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    decomposition VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    projection VARCHAR NOT NULL,
    component INTEGER NOT NULL,
    head VARCHAR,
    score VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    n INTEGER
);
COMMENT ON TABLE component_scores IS 'Scores of single components, by head where a score has one';
COMMENT ON COLUMN component_scores.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN component_scores.model IS 'The model (models.model)';
COMMENT ON COLUMN component_scores.text IS 'The data set (texts.text)';
COMMENT ON COLUMN component_scores.decomposition IS 'The decomposition: 16 hexadecimal digits of the hash of its weights';
COMMENT ON COLUMN component_scores.layer IS 'Layer, from 0';
COMMENT ON COLUMN component_scores.projection IS 'Which weight of the layer''s attention: q, k, v or o';
COMMENT ON COLUMN component_scores.component IS 'Component of that weight, from 0';
COMMENT ON COLUMN component_scores.head IS 'The head that the score is about, as L1H4; a key-value head for keys and values of head_norm and head_activation, as L1KV2';
COMMENT ON COLUMN component_scores.score IS 'head_norm: Frobenius norm in the rows, or for o the columns, of the head; head_activation: mean absolute activation times the norm of its rows; effects are ablated minus base';
COMMENT ON COLUMN component_scores.value IS 'The score';
COMMENT ON COLUMN component_scores.lower IS 'Lower end of the 95 % bootstrap interval over sequences';
COMMENT ON COLUMN component_scores.upper IS 'Upper end of the 95 % bootstrap interval over sequences';
COMMENT ON COLUMN component_scores.n IS 'Number of sequences averaged';

CREATE TABLE component_pairs (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    decomposition VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    first VARCHAR NOT NULL,
    first_component INTEGER NOT NULL,
    second VARCHAR NOT NULL,
    second_component INTEGER NOT NULL,
    head VARCHAR,
    lag INTEGER NOT NULL,
    measure VARCHAR NOT NULL,
    value DOUBLE NOT NULL
);
COMMENT ON TABLE component_pairs IS 'How pairs of components of one layer act or fire together';
COMMENT ON COLUMN component_pairs.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN component_pairs.model IS 'The model (models.model)';
COMMENT ON COLUMN component_pairs.text IS 'The data set (texts.text)';
COMMENT ON COLUMN component_pairs.decomposition IS 'The decomposition: 16 hexadecimal digits of the hash of its weights';
COMMENT ON COLUMN component_pairs.layer IS 'Layer, from 0';
COMMENT ON COLUMN component_pairs.first IS 'Projection of the first component, at token t';
COMMENT ON COLUMN component_pairs.first_component IS 'The first component, from 0';
COMMENT ON COLUMN component_pairs.second IS 'Projection of the second component, at token t - lag';
COMMENT ON COLUMN component_pairs.second_component IS 'The second component, from 0';
COMMENT ON COLUMN component_pairs.head IS 'The head whose score the pair adds to; NULL for all heads together and for firing';
COMMENT ON COLUMN component_pairs.lag IS 'How far before the first component''s token the second one''s is';
COMMENT ON COLUMN component_pairs.measure IS 'contribution: to the score before the softmax, at their mean activations; contribution_random: of random pairs that fire; mean_contribution: to a head''s score, averaged over tokens; matched_norm: the same of random pairs of about the same norms; matched_norm_outside: of such pairs without components of the pairs that add most; count, phi, jaccard, p_key, p_query: of firing; cosine: of their input directions';
COMMENT ON COLUMN component_pairs.value IS 'The number';

CREATE TABLE component_tokens (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    decomposition VARCHAR NOT NULL,
    layer SMALLINT NOT NULL,
    projection VARCHAR NOT NULL,
    component INTEGER NOT NULL,
    kind VARCHAR NOT NULL,
    rank SMALLINT NOT NULL,
    before VARCHAR,
    token VARCHAR NOT NULL,
    after VARCHAR,
    value DOUBLE NOT NULL
);
COMMENT ON TABLE component_tokens IS 'What a component fires on';
COMMENT ON COLUMN component_tokens.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN component_tokens.model IS 'The model (models.model)';
COMMENT ON COLUMN component_tokens.text IS 'The data set (texts.text)';
COMMENT ON COLUMN component_tokens.decomposition IS 'The decomposition: 16 hexadecimal digits of the hash of its weights';
COMMENT ON COLUMN component_tokens.layer IS 'Layer, from 0';
COMMENT ON COLUMN component_tokens.projection IS 'Which weight of the layer''s attention: q, k, v or o';
COMMENT ON COLUMN component_tokens.component IS 'Component of that weight, from 0';
COMMENT ON COLUMN component_tokens.kind IS 'example: a token at which it fires, drawn evenly; input: a token that it fires on more than chance';
COMMENT ON COLUMN component_tokens.rank IS 'Rank within its kind, from 1';
COMMENT ON COLUMN component_tokens.before IS 'Up to 20 tokens before an example';
COMMENT ON COLUMN component_tokens.token IS 'The token as text, its spaces kept';
COMMENT ON COLUMN component_tokens.after IS 'Up to 20 tokens after an example';
COMMENT ON COLUMN component_tokens.value IS 'example: causal importance there; input: pointwise mutual information, nats';

CREATE TABLE adversary_steps (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    decomposition VARCHAR NOT NULL,
    components VARCHAR NOT NULL,
    arm VARCHAR NOT NULL,
    step SMALLINT NOT NULL,
    value DOUBLE NOT NULL
);
COMMENT ON TABLE adversary_steps IS 'How far an adversary drove predictions from the target, step by step';
COMMENT ON COLUMN adversary_steps.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN adversary_steps.model IS 'The model (models.model)';
COMMENT ON COLUMN adversary_steps.text IS 'The data set (texts.text)';
COMMENT ON COLUMN adversary_steps.decomposition IS 'The decomposition: 16 hexadecimal digits of the hash of its weights';
COMMENT ON COLUMN adversary_steps.components IS 'What is ablated, as h.1.attn.q_proj:12,h.1.attn.k_proj:7';
COMMENT ON COLUMN adversary_steps.arm IS 'base, or ablated: the components write nothing at t';
COMMENT ON COLUMN adversary_steps.step IS 'Steps of ascent done';
COMMENT ON COLUMN adversary_steps.value IS 'KL(target || masked), nats a token';

CREATE TABLE published_curves (
    run VARCHAR NOT NULL,
    file VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    model_key VARCHAR NOT NULL,
    question VARCHAR NOT NULL,
    total_tokens INTEGER NOT NULL,
    family VARCHAR NOT NULL,
    size INTEGER NOT NULL,
    draw INTEGER,
    heads VARCHAR,
    accuracy DOUBLE NOT NULL,
    correct INTEGER NOT NULL,
    total INTEGER NOT NULL,
    stated_drop DOUBLE,
    drop DOUBLE,
    remark VARCHAR,
    other VARCHAR
);
COMMENT ON TABLE published_curves IS 'What imported result files of published studies say of ablating the top N heads, or N random ones';
COMMENT ON COLUMN published_curves.run IS 'The run that read the file (runs.run); its key is the hash of the file';
COMMENT ON COLUMN published_curves.file IS 'Name of the file when it was first imported';
COMMENT ON COLUMN published_curves.method IS 'How the heads were ranked, as the file calls it';
COMMENT ON COLUMN published_curves.model_key IS 'The model, as the file calls it; no row of models';
COMMENT ON COLUMN published_curves.question IS 'What was asked, as the file calls it';
COMMENT ON COLUMN published_curves.total_tokens IS 'Length of the prompts, in tokens';
COMMENT ON COLUMN published_curves.family IS 'base, top or random';
COMMENT ON COLUMN published_curves.size IS 'Heads ablated together; 0 for base';
COMMENT ON COLUMN published_curves.draw IS 'Number of the random set of this size in the file, from 0; NULL for base and top';
COMMENT ON COLUMN published_curves.heads IS 'The heads, as L15H30,L8H1, or as the file has them where they are no such names; NULL for base';
COMMENT ON COLUMN published_curves.accuracy IS 'Share of items answered correctly, in [0, 1], as stated';
COMMENT ON COLUMN published_curves.correct IS 'Items answered correctly';
COMMENT ON COLUMN published_curves.total IS 'Items asked';
COMMENT ON COLUMN published_curves.stated_drop IS 'Loss of accuracy as the file states it, base minus ablated, positive where the model got worse; NULL for base';
COMMENT ON COLUMN published_curves.drop IS 'The same recomputed from the accuracies; NULL for base';
COMMENT ON COLUMN published_curves.remark IS 'Where the file contradicts itself by more than rounding; NULL where it does not';
COMMENT ON COLUMN published_curves.other IS 'JSON of further fields of the file with a single value; NULL for none';

CREATE TABLE published_rankings (
    run VARCHAR NOT NULL,
    file VARCHAR NOT NULL,
    format VARCHAR NOT NULL,
    method VARCHAR,
    model_key VARCHAR,
    question VARCHAR,
    total_tokens INTEGER,
    samples_processed INTEGER,
    successful_retrievals INTEGER,
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    sample INTEGER,
    score DOUBLE NOT NULL,
    num_samples INTEGER,
    rank INTEGER,
    remark VARCHAR,
    other VARCHAR
);
COMMENT ON TABLE published_rankings IS 'Scores of heads in imported files of published studies';
COMMENT ON COLUMN published_rankings.run IS 'The run that read the file (runs.run); its key is the hash of the file';
COMMENT ON COLUMN published_rankings.file IS 'Name of the file when it was first imported';
COMMENT ON COLUMN published_rankings.format IS 'detection, listed (scores of every sample by head), pairs (head and score) or table (CSV)';
COMMENT ON COLUMN published_rankings.method IS 'How the heads were scored, as the file calls it; NULL where it does not say, here and below';
COMMENT ON COLUMN published_rankings.model_key IS 'The model, as the file calls it; no row of models';
COMMENT ON COLUMN published_rankings.question IS 'What was asked, as the file calls it';
COMMENT ON COLUMN published_rankings.total_tokens IS 'Length of the prompts, in tokens';
COMMENT ON COLUMN published_rankings.samples_processed IS 'Samples that were read';
COMMENT ON COLUMN published_rankings.successful_retrievals IS 'Samples that were answered correctly';
COMMENT ON COLUMN published_rankings.layer IS 'Layer, from 0';
COMMENT ON COLUMN published_rankings.head IS 'Head within the layer, from 0';
COMMENT ON COLUMN published_rankings.sample IS 'Sample within a listed file, from 0; NULL marks the score over all';
COMMENT ON COLUMN published_rankings.score IS 'The score as stated; the mean of the samples of a listed file';
COMMENT ON COLUMN published_rankings.num_samples IS 'Samples that the score is a mean of';
COMMENT ON COLUMN published_rankings.rank IS 'As a detection file states it; else by score, 1 is the largest; NULL for single samples';
COMMENT ON COLUMN published_rankings.remark IS 'Where the file contradicts itself; NULL where it does not';
COMMENT ON COLUMN published_rankings.other IS 'JSON of further fields of the file with a single value; NULL for none';

CREATE TABLE published_lags (
    run VARCHAR NOT NULL,
    file VARCHAR NOT NULL,
    lag INTEGER NOT NULL,
    p DOUBLE NOT NULL
);
COMMENT ON TABLE published_lags IS 'Lag profiles in imported files of published studies';
COMMENT ON COLUMN published_lags.run IS 'The run that read the file (runs.run); its key is the hash of the file';
COMMENT ON COLUMN published_lags.file IS 'Name of the file when it was first imported';
COMMENT ON COLUMN published_lags.lag IS 'Position of a list item minus that of the probe; 1 is its successor';
COMMENT ON COLUMN published_lags.p IS 'Mean probability of the item as the next token, in [0, 1]';

CREATE TABLE lag_profiles (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    condition VARCHAR NOT NULL,
    family VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    size INTEGER NOT NULL,
    layers VARCHAR NOT NULL,
    design VARCHAR NOT NULL,
    shown VARCHAR NOT NULL,
    n_words INTEGER NOT NULL,
    lag INTEGER NOT NULL,
    p DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    n INTEGER NOT NULL,
    log_odds DOUBLE,
    log_odds_lower DOUBLE,
    log_odds_upper DOUBLE,
    expected DOUBLE
);
COMMENT ON TABLE lag_profiles IS 'How probable the items of a list are as the next token, by their lag from the item that is shown again';
COMMENT ON COLUMN lag_profiles.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN lag_profiles.model IS 'The model (models.model)';
COMMENT ON COLUMN lag_profiles.text IS 'The lists (texts.text)';
COMMENT ON COLUMN lag_profiles.condition IS 'The condition (ablations.condition of the same run); of random sets a name for all draws of one size';
COMMENT ON COLUMN lag_profiles.family IS 'base: nothing ablated; top: heads of a ranking; random: the mean over draws';
COMMENT ON COLUMN lag_profiles.method IS 'What stands in for the heads, as in ablations; empty where nothing does';
COMMENT ON COLUMN lag_profiles.size IS 'Heads ablated together';
COMMENT ON COLUMN lag_profiles.layers IS 'Where they lie: all, lower half or upper half';
COMMENT ON COLUMN lag_profiles.design IS 'probe: one item is shown after the list; serial: the whole list again';
COMMENT ON COLUMN lag_profiles.shown IS 'items of the list, or other words in their stead, the control';
COMMENT ON COLUMN lag_profiles.n_words IS 'Words in the list';
COMMENT ON COLUMN lag_profiles.lag IS 'Slot in the list minus that of the item shown again: 0 is that item, 1 its successor';
COMMENT ON COLUMN lag_profiles.p IS 'Mean probability of the item at that lag, in [0, 1]';
COMMENT ON COLUMN lag_profiles.lower IS 'Lower end of 95 %: of the bootstrap over permutations, or of the draws for random';
COMMENT ON COLUMN lag_profiles.upper IS 'Upper end of 95 %: of the bootstrap over permutations, or of the draws for random';
COMMENT ON COLUMN lag_profiles.n IS 'Permutations that have such an item; for random, draws';
COMMENT ON COLUMN lag_profiles.log_odds IS 'Mean of log p / (1 - p), nats';
COMMENT ON COLUMN lag_profiles.log_odds_lower IS 'Lower end of the same 95 % of log_odds';
COMMENT ON COLUMN lag_profiles.log_odds_upper IS 'Upper end of the same 95 % of log_odds';
COMMENT ON COLUMN lag_profiles.expected IS 'What the items'' slots alone would give: their mean p where they are no neighbours of the item shown again';

CREATE TABLE lag_measures (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    condition VARCHAR NOT NULL,
    layers VARCHAR NOT NULL,
    design VARCHAR NOT NULL,
    shown VARCHAR NOT NULL,
    n_words INTEGER NOT NULL,
    measure VARCHAR NOT NULL,
    sequence INTEGER,
    value DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    n INTEGER
);
COMMENT ON TABLE lag_measures IS 'What recall from a list comes to, for each permutation and over all of them';
COMMENT ON COLUMN lag_measures.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN lag_measures.model IS 'The model (models.model)';
COMMENT ON COLUMN lag_measures.text IS 'The lists (texts.text)';
COMMENT ON COLUMN lag_measures.condition IS 'The condition (ablations.condition of the same run); for single permutations of random sets the mean over all of a size (lag_profiles.condition)';
COMMENT ON COLUMN lag_measures.layers IS 'Where the ablated heads lie: all, lower half or upper half';
COMMENT ON COLUMN lag_measures.design IS 'probe: one item is shown after the list; serial: the whole list again';
COMMENT ON COLUMN lag_measures.shown IS 'items of the list, or other words in their stead, the control';
COMMENT ON COLUMN lag_measures.n_words IS 'Words in the list';
COMMENT ON COLUMN lag_measures.measure IS 'mass: p of all items together; successor, predecessor: p at lags 1 and -1; ratio: of their means; log_ratio: mean log of their ratio, nats; log_odds: mean log p / (1 - p) at lag 1, nats; rank: of lag 1 among all items, 1 the most probable; recency: log of the mean p in the last quarter of the list over the first, lags -1 to 1 left out, nats';
COMMENT ON COLUMN lag_measures.sequence IS 'Permutation, from 0; NULL for the aggregate over all';
COMMENT ON COLUMN lag_measures.value IS 'The number: on one permutation the mean over the items shown again';
COMMENT ON COLUMN lag_measures.lower IS 'Lower end of the 95 % bootstrap interval over permutations; aggregate rows only';
COMMENT ON COLUMN lag_measures.upper IS 'Upper end of the 95 % bootstrap interval over permutations; aggregate rows only';
COMMENT ON COLUMN lag_measures.n IS 'Number of permutations averaged; aggregate rows only';

CREATE TABLE retrieval_items (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    sequence INTEGER NOT NULL,
    split VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    fact VARCHAR NOT NULL,
    n_tokens INTEGER NOT NULL,
    n_records INTEGER NOT NULL,
    depth DOUBLE NOT NULL,
    answer VARCHAR NOT NULL,
    generated VARCHAR NOT NULL,
    correct BOOLEAN NOT NULL,
    log_p DOUBLE NOT NULL,
    logit_difference DOUBLE,
    answer_rank INTEGER NOT NULL
);
COMMENT ON TABLE retrieval_items IS 'Every question about a fact in a context, and what the model as it is answers';
COMMENT ON COLUMN retrieval_items.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN retrieval_items.model IS 'The model (models.model)';
COMMENT ON COLUMN retrieval_items.text IS 'The data set (texts.text): all prompts of the run';
COMMENT ON COLUMN retrieval_items.sequence IS 'Its place among them, from 0, as in head_scores of the same run';
COMMENT ON COLUMN retrieval_items.split IS 'train: heads are detected on it; test: they are tested on it; file: a user''s own';
COMMENT ON COLUMN retrieval_items.item IS 'Name of the item, the same in all runs that ask it';
COMMENT ON COLUMN retrieval_items.fact IS 'Which fact is asked about; empty for a user''s own items';
COMMENT ON COLUMN retrieval_items.n_tokens IS 'Length of the prompt, BOS included';
COMMENT ON COLUMN retrieval_items.n_records IS 'Records that state the fact, the right one included: chance is 1 over it';
COMMENT ON COLUMN retrieval_items.depth IS 'Where the answer stands in the context, 0 at its start, 1 at its end';
COMMENT ON COLUMN retrieval_items.answer IS 'The right answer';
COMMENT ON COLUMN retrieval_items.generated IS 'What the model says: its greedy answer of at most 10 tokens, up to the end of the line';
COMMENT ON COLUMN retrieval_items.correct IS 'Whether that starts with the right answer as a whole word or phrase, whatever its case and punctuation';
COMMENT ON COLUMN retrieval_items.log_p IS 'Log probability of all tokens of the right answer, nats';
COMMENT ON COLUMN retrieval_items.logit_difference IS 'Logit of the right answer minus that of the named wrong record''s, at the first token where they differ; NULL without a wrong record';
COMMENT ON COLUMN retrieval_items.answer_rank IS 'Rank of the right answer''s first token among all tokens, from 1';

CREATE TABLE retrieval_choices (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    sequence INTEGER NOT NULL,
    item VARCHAR NOT NULL,
    example VARCHAR NOT NULL,
    candidate INTEGER NOT NULL,
    answer VARCHAR NOT NULL,
    log_p DOUBLE NOT NULL
);
COMMENT ON TABLE retrieval_choices IS 'How probable every answer is that the records of a context give to its question, for the model as it is';
COMMENT ON COLUMN retrieval_choices.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN retrieval_choices.model IS 'The model (models.model)';
COMMENT ON COLUMN retrieval_choices.text IS 'The data set (texts.text): all prompts of the run';
COMMENT ON COLUMN retrieval_choices.sequence IS 'Its place among them, from 0, as in retrieval_items of the same run';
COMMENT ON COLUMN retrieval_choices.item IS 'Name of the item, as in retrieval_items';
COMMENT ON COLUMN retrieval_choices.example IS 'none; or worked: another statement, question and answer stand before the context';
COMMENT ON COLUMN retrieval_choices.candidate IS '0 for the right answer, from 1 those of the other records';
COMMENT ON COLUMN retrieval_choices.answer IS 'The answer';
COMMENT ON COLUMN retrieval_choices.log_p IS 'Log probability of all its tokens behind the question, nats';

CREATE TABLE ranking_checks (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    score VARCHAR NOT NULL,
    data VARCHAR NOT NULL,
    measure VARCHAR NOT NULL,
    size INTEGER,
    value DOUBLE NOT NULL,
    lower DOUBLE,
    upper DOUBLE,
    chance DOUBLE,
    n INTEGER NOT NULL
);
COMMENT ON TABLE ranking_checks IS 'How far a ranking of heads can be trusted: does it come out again, and do its heads matter';
COMMENT ON COLUMN ranking_checks.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN ranking_checks.model IS 'The model (models.model)';
COMMENT ON COLUMN ranking_checks.score IS 'The score that ranks the heads, as in head_scores';
COMMENT ON COLUMN ranking_checks.data IS 'What it was read on, as in head_scores';
COMMENT ON COLUMN ranking_checks.measure IS 'split_half: Spearman correlation of scores on two random halves of the items; jaccard: overlap of the top heads with those of resampled items; validity: Spearman correlation with what ablating each head alone changes';
COMMENT ON COLUMN ranking_checks.size IS 'Top heads compared by jaccard; NULL for the others';
COMMENT ON COLUMN ranking_checks.value IS 'The mean: a correlation in [-1, 1], or shared over joint heads in [0, 1]';
COMMENT ON COLUMN ranking_checks.lower IS '2.5 % point over splits or resamples';
COMMENT ON COLUMN ranking_checks.upper IS '97.5 % point over splits or resamples';
COMMENT ON COLUMN ranking_checks.chance IS 'What unrelated rankings give on average';
COMMENT ON COLUMN ranking_checks.n IS 'Items that the score is a mean over';

CREATE TABLE retrieval_outcomes (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR,
    condition VARCHAR NOT NULL,
    sequence INTEGER NOT NULL,
    item VARCHAR NOT NULL,
    fact VARCHAR NOT NULL,
    n_tokens INTEGER NOT NULL,
    n_records INTEGER NOT NULL,
    depth DOUBLE NOT NULL,
    correct BOOLEAN NOT NULL,
    log_p DOUBLE NOT NULL,
    logit_difference DOUBLE,
    answer_rank INTEGER NOT NULL,
    decoded BOOLEAN NOT NULL
);
COMMENT ON TABLE retrieval_outcomes IS 'What becomes of every question about a context when a set of heads is replaced';
COMMENT ON COLUMN retrieval_outcomes.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN retrieval_outcomes.model IS 'The model (models.model)';
COMMENT ON COLUMN retrieval_outcomes.text IS 'The data set (texts.text): the questions with their answers';
COMMENT ON COLUMN retrieval_outcomes.condition IS 'The condition (ablations.condition of the same run); base replaces nothing';
COMMENT ON COLUMN retrieval_outcomes.sequence IS 'Question within the data set, from 0';
COMMENT ON COLUMN retrieval_outcomes.item IS 'Name of the question, as in retrieval_items';
COMMENT ON COLUMN retrieval_outcomes.fact IS 'Which fact is asked about';
COMMENT ON COLUMN retrieval_outcomes.n_tokens IS 'Length of the prompt, BOS included';
COMMENT ON COLUMN retrieval_outcomes.n_records IS 'Records that state the fact, the right one included: chance is 1 over it';
COMMENT ON COLUMN retrieval_outcomes.depth IS 'Where the answer stands in the context, 0 at its start, 1 at its end';
COMMENT ON COLUMN retrieval_outcomes.correct IS 'Whether the greedy answer of at most 10 tokens is right';
COMMENT ON COLUMN retrieval_outcomes.log_p IS 'Log probability of all tokens of the right answer, nats; lower where a condition harms';
COMMENT ON COLUMN retrieval_outcomes.logit_difference IS 'Logit of the right answer minus that of the named wrong record''s, at the first token where they differ; NULL without a wrong record';
COMMENT ON COLUMN retrieval_outcomes.answer_rank IS 'Rank of the right answer''s first token among all tokens, from 1';
COMMENT ON COLUMN retrieval_outcomes.decoded IS 'Whether the answer had to be decoded; else one pass over prompt and right answer decides';

CREATE TABLE retrieval_curves (
    run VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    ranking VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    fact VARCHAR NOT NULL,
    n_tokens INTEGER NOT NULL,
    family VARCHAR NOT NULL,
    size INTEGER NOT NULL,
    heads VARCHAR,
    accuracy DOUBLE NOT NULL,
    lower DOUBLE NOT NULL,
    upper DOUBLE NOT NULL,
    log_p DOUBLE NOT NULL,
    n INTEGER NOT NULL,
    p DOUBLE,
    p_holm DOUBLE
);
COMMENT ON TABLE retrieval_curves IS 'Share of questions answered with the top N heads of a ranking replaced, against random sets of as many';
COMMENT ON COLUMN retrieval_curves.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN retrieval_curves.model IS 'The model (models.model)';
COMMENT ON COLUMN retrieval_curves.ranking IS 'Which score ranks the heads; overlap: heads among the top of all of them';
COMMENT ON COLUMN retrieval_curves.method IS 'What stands in, as in ablations; zero_query is uniform by another way';
COMMENT ON COLUMN retrieval_curves.scope IS 'prefill, decode, or prefill+decode';
COMMENT ON COLUMN retrieval_curves.fact IS 'Which fact is asked about, or all';
COMMENT ON COLUMN retrieval_curves.n_tokens IS 'Length of the prompts, BOS included';
COMMENT ON COLUMN retrieval_curves.family IS 'top, random (drawn among all other heads) or layer_matched (as many in each layer)';
COMMENT ON COLUMN retrieval_curves.size IS 'Heads replaced together, N; 0 for the model as it is';
COMMENT ON COLUMN retrieval_curves.heads IS 'The heads of a top set, as L1H4,L2H0; NULL for draws';
COMMENT ON COLUMN retrieval_curves.accuracy IS 'Share of questions answered correctly, in [0, 1]; for draws the mean over them';
COMMENT ON COLUMN retrieval_curves.lower IS 'Lower end of 95 %: of the Wilson interval for top, of the draws for the others';
COMMENT ON COLUMN retrieval_curves.upper IS 'Upper end of 95 %: of the Wilson interval for top, of the draws for the others';
COMMENT ON COLUMN retrieval_curves.log_p IS 'Mean log probability of the right answer, nats';
COMMENT ON COLUMN retrieval_curves.n IS 'top: questions; else draws, or all sets where there are not more';
COMMENT ON COLUMN retrieval_curves.p IS 'top: exact McNemar p against the model as it is; else permutation p of the top set against this family';
COMMENT ON COLUMN retrieval_curves.p_holm IS 'The same, adjusted by Holm over all sizes of the curve';

CREATE TABLE races (
    run VARCHAR NOT NULL,
    task VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    sizes VARCHAR NOT NULL,
    n_sequences INTEGER NOT NULL,
    n_tokens INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    n_ablated INTEGER NOT NULL,
    n_heads INTEGER NOT NULL,
    reference VARCHAR NOT NULL,
    flops BIGINT,
    least_effect DOUBLE,
    largest_effect DOUBLE,
    rate_float32 DOUBLE NOT NULL,
    rate_bfloat16 DOUBLE NOT NULL,
    device VARCHAR NOT NULL,
    processor VARCHAR NOT NULL,
    threads INTEGER NOT NULL,
    torch VARCHAR NOT NULL
);
COMMENT ON TABLE races IS 'One row per task that was timed side by side: what was asked, and on which machine';
COMMENT ON COLUMN races.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN races.task IS 'A: zero ablation of every head; S: all head scores';
COMMENT ON COLUMN races.model IS 'What was timed: small or large (random weights), or reference';
COMMENT ON COLUMN races.sizes IS 'Sizes of the model, in words';
COMMENT ON COLUMN races.n_sequences IS 'Number of sequences';
COMMENT ON COLUMN races.n_tokens IS 'Tokens in each sequence';
COMMENT ON COLUMN races.batch IS 'S: sequences in one call of a model, the same for all contenders';
COMMENT ON COLUMN races.n_ablated IS 'A: heads that were ablated, as many in every layer';
COMMENT ON COLUMN races.n_heads IS 'Heads of the model; seconds are scaled to all of them';
COMMENT ON COLUMN races.reference IS 'The contender whose answer the others are compared with';
COMMENT ON COLUMN races.flops IS 'A: multiplications and additions of all matrix products of our sweep, counted; NULL for S';
COMMENT ON COLUMN races.least_effect IS 'A: smallest KL(base || ablated) of a head, mean over sequences, in nats';
COMMENT ON COLUMN races.largest_effect IS 'A: the largest, in nats: what a difference compares with';
COMMENT ON COLUMN races.rate_float32 IS 'Operations a second of a large matrix product in float32 meanwhile';
COMMENT ON COLUMN races.rate_bfloat16 IS 'The same in bfloat16';
COMMENT ON COLUMN races.device IS 'cpu, or the name of the GPU';
COMMENT ON COLUMN races.processor IS 'What the processor calls itself';
COMMENT ON COLUMN races.threads IS 'Threads of a computation on the processor';
COMMENT ON COLUMN races.torch IS 'Version of torch';

CREATE TABLE timings (
    run VARCHAR NOT NULL,
    task VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    contender VARCHAR NOT NULL,
    package VARCHAR NOT NULL,
    preview BOOLEAN NOT NULL,
    lap INTEGER,
    seconds DOUBLE,
    extra_bytes BIGINT,
    difference DOUBLE,
    agrees BOOLEAN,
    relative_error DOUBLE,
    largest_relative_error DOUBLE,
    rank_correlation DOUBLE,
    flops BIGINT,
    share DOUBLE,
    absence VARCHAR
);
COMMENT ON TABLE timings IS 'Every lap of every contender of a race; one row without a lap for a contender that took no part';
COMMENT ON COLUMN timings.run IS 'The run that computed the row (runs.run, races.run)';
COMMENT ON COLUMN timings.task IS 'As in races';
COMMENT ON COLUMN timings.model IS 'As in races';
COMMENT ON COLUMN timings.contender IS 'Who: a variant of ours, plain hooks, TransformerLens or nnsight';
COMMENT ON COLUMN timings.package IS 'The package that it runs on, with its version; - if it is not installed';
COMMENT ON COLUMN timings.preview IS 'Whether it computes in bfloat16, so that it need not agree';
COMMENT ON COLUMN timings.lap IS 'Round of the race, from 0; NULL if it took no part';
COMMENT ON COLUMN timings.seconds IS 'Seconds of the lap, for all heads';
COMMENT ON COLUMN timings.extra_bytes IS 'Peak memory above what was held before the lap, in bytes; NULL where the system does not say';
COMMENT ON COLUMN timings.difference IS 'Largest difference to the answer of the reference: of KL in nats for A, of any score for S; NULL for the reference';
COMMENT ON COLUMN timings.agrees IS 'Whether the difference is within 1e-4 nats for A, 1e-5 for S; NULL for previews and the reference';
COMMENT ON COLUMN timings.relative_error IS 'Previews: median over heads of |KL / that of the reference - 1|';
COMMENT ON COLUMN timings.largest_relative_error IS 'Previews: the largest';
COMMENT ON COLUMN timings.rank_correlation IS 'Previews: Spearman correlation of KL over heads with the reference';
COMMENT ON COLUMN timings.flops IS 'A: operations of all its matrix products, counted: of a sweep for ours, of a whole pass a head for others';
COMMENT ON COLUMN timings.share IS 'A, float32: its operations a second over the rate of a large matrix product; 1 is as fast as arithmetic allows';
COMMENT ON COLUMN timings.absence IS 'Why it took no part; NULL if it did';

CREATE TABLE cost_growth (
    run VARCHAR NOT NULL,
    axis VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    n_sequences INTEGER NOT NULL,
    n_tokens INTEGER NOT NULL,
    size INTEGER NOT NULL,
    seconds DOUBLE NOT NULL,
    flops BIGINT NOT NULL,
    device VARCHAR NOT NULL,
    processor VARCHAR NOT NULL,
    threads INTEGER NOT NULL,
    torch VARCHAR NOT NULL
);
COMMENT ON TABLE cost_growth IS 'What our zero ablation of every head costs when one quantity doubles, and doubles again';
COMMENT ON COLUMN cost_growth.run IS 'The run that computed the row (runs.run)';
COMMENT ON COLUMN cost_growth.axis IS 'What grows: heads in a layer, layers, tokens or conditions';
COMMENT ON COLUMN cost_growth.model IS 'The model that it grows from';
COMMENT ON COLUMN cost_growth.n_sequences IS 'Number of sequences';
COMMENT ON COLUMN cost_growth.n_tokens IS 'Tokens in each sequence, before they grow';
COMMENT ON COLUMN cost_growth.size IS 'How many of what grows';
COMMENT ON COLUMN cost_growth.seconds IS 'Seconds, the median over laps';
COMMENT ON COLUMN cost_growth.flops IS 'Multiplications and additions of all matrix products, counted';
COMMENT ON COLUMN cost_growth.device IS 'cpu, or the name of the GPU';
COMMENT ON COLUMN cost_growth.processor IS 'What the processor calls itself';
COMMENT ON COLUMN cost_growth.threads IS 'Threads of a computation on the processor';
COMMENT ON COLUMN cost_growth.torch IS 'Version of torch';

CREATE TABLE claims (
    run VARCHAR NOT NULL,
    claim VARCHAR NOT NULL,
    statement VARCHAR NOT NULL,
    statistic VARCHAR NOT NULL,
    estimate DOUBLE,
    lower DOUBLE,
    upper DOUBLE,
    control DOUBLE,
    control_lower DOUBLE,
    control_upper DOUBLE,
    threshold DOUBLE,
    verdict VARCHAR NOT NULL,
    chapter VARCHAR NOT NULL,
    evidence VARCHAR NOT NULL,
    p DOUBLE,
    n_null INTEGER,
    beyond DOUBLE,
    beyond_lower DOUBLE,
    beyond_upper DOUBLE
);
COMMENT ON TABLE claims IS 'What the book says, each with its number, its control, its threshold and its verdict';
COMMENT ON COLUMN claims.run IS 'The run that weighed the evidence (runs.run)';
COMMENT ON COLUMN claims.claim IS 'Short name of the claim, stable over runs';
COMMENT ON COLUMN claims.statement IS 'The claim as a sentence that could be false';
COMMENT ON COLUMN claims.statistic IS 'Which number decides, in words';
COMMENT ON COLUMN claims.estimate IS 'The number; NULL where it could not be computed';
COMMENT ON COLUMN claims.lower IS 'Lower end of its 95 % interval';
COMMENT ON COLUMN claims.upper IS 'Upper end of its 95 % interval';
COMMENT ON COLUMN claims.control IS 'The same number under the control';
COMMENT ON COLUMN claims.control_lower IS 'Lower end of the 95 % interval of the control';
COMMENT ON COLUMN claims.control_upper IS 'Upper end of the 95 % interval of the control';
COMMENT ON COLUMN claims.threshold IS 'What the interval must clear; a constant of the room that did not change since it was introduced';
COMMENT ON COLUMN claims.verdict IS 'supported, refuted, not shown, undecided or not testable; not supported in runs of schema 6';
COMMENT ON COLUMN claims.chapter IS 'The notebook that argues it';
COMMENT ON COLUMN claims.evidence IS 'JSON list of the runs it was derived from (runs.run)';
COMMENT ON COLUMN claims.p IS 'How probable as large a statistic is if the claim is wrong, one-sided; NULL without a null';
COMMENT ON COLUMN claims.n_null IS 'From how many alternatives p comes: it is at least 1 / (n_null + 1); NULL without a null';
COMMENT ON COLUMN claims.beyond IS 'How far the number is beyond its control, on the side of the claim; paired where both have the same sequences';
COMMENT ON COLUMN claims.beyond_lower IS 'Lower end of its 95 % interval';
COMMENT ON COLUMN claims.beyond_upper IS 'Upper end of its 95 % interval';

CREATE TABLE checks (
    run VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    statement VARCHAR NOT NULL,
    difference DOUBLE NOT NULL,
    tolerance DOUBLE NOT NULL,
    holds BOOLEAN NOT NULL,
    chapter VARCHAR NOT NULL
);
COMMENT ON TABLE checks IS 'What holds by definition, and could only fail by a mistake: no claims about a model';
COMMENT ON COLUMN checks.run IS 'The run that checked it (runs.run)';
COMMENT ON COLUMN checks.name IS 'Short name, stable over runs';
COMMENT ON COLUMN checks.statement IS 'What must hold';
COMMENT ON COLUMN checks.difference IS 'The largest difference of the two sides, in what the statement says';
COMMENT ON COLUMN checks.tolerance IS 'What may be rounding';
COMMENT ON COLUMN checks.holds IS 'Whether the difference is within the tolerance, or beyond it where it must not be 0';
COMMENT ON COLUMN checks.chapter IS 'The notebook that shows it';

CREATE VIEW head_atlas AS
WITH best AS (
    SELECT head_scores.*
    FROM head_scores JOIN runs USING (run)
    WHERE sequence IS NULL
    QUALIFY row_number() OVER (
        PARTITION BY head_scores.model, layer, head, score, data
        ORDER BY n DESC NULLS LAST, started DESC, run
    ) = 1
), peaks AS (
    SELECT head_profiles.model, layer, head, max(value) AS peak
    FROM head_profiles JOIN runs USING (run)
    WHERE profile = 'offset' AND data = 'text'
    GROUP BY head_profiles.model, layer, head, run, started, n
    QUALIFY row_number() OVER (
        PARTITION BY head_profiles.model, layer, head
        ORDER BY n DESC NULLS LAST, started DESC, run
    ) = 1
)
SELECT
    model,
    layer,
    head,
    'L' || layer || 'H' || head AS name,
    max(value) FILTER (WHERE score = 'previous_token' AND data = 'text') AS previous_token,
    max(value) FILTER (WHERE score = 'previous_token' AND data = 'random') AS previous_token_random,
    max(value) FILTER (WHERE score = 'induction' AND data = 'repeated') AS induction,
    max(value) FILTER (WHERE score = 'induction' AND data = 'shuffled') AS induction_shuffled,
    max(value) FILTER (WHERE score = 'duplicate_token' AND data = 'text') AS duplicate_token,
    max(value) FILTER (WHERE score = 'bos' AND data = 'text') AS bos,
    max(value) FILTER (WHERE score = 'delimiter' AND data = 'text') AS delimiter,
    max(value) FILTER (WHERE score = 'successor' AND data = 'ordinal') AS successor,
    max(value) FILTER (WHERE score = 'successor' AND data = 'control') AS successor_control,
    arg_max(value, coalesce(n, 0)) FILTER (WHERE score = 's_inhibition') AS s_inhibition,
    arg_max(value, coalesce(n, 0)) FILTER (WHERE score = 'attention_to_io') AS attention_to_io,
    arg_max(value, coalesce(n, 0)) FILTER (WHERE score = 'attention_to_s1') AS attention_to_s1,
    arg_max(value, coalesce(n, 0)) FILTER (WHERE score = 'ov_copy') AS ov_copy,
    arg_max(value, coalesce(n, 0)) FILTER (WHERE score = 'ov_copy_gain') AS ov_copy_gain,
    arg_max(value, coalesce(n, 0)) FILTER (WHERE score = 'io_s_effect') AS io_s_effect,
    any_value(peak) AS profile_peak
FROM best LEFT JOIN peaks USING (model, layer, head)
GROUP BY model, layer, head;
COMMENT ON VIEW head_atlas IS 'One row per model and head, a column per score: the aggregate with the most sequences behind it, then the latest';
COMMENT ON COLUMN head_atlas.name IS 'The head, as L1H4';
COMMENT ON COLUMN head_atlas.previous_token IS 'Attention to the token before, on text, in [0, 1]';
COMMENT ON COLUMN head_atlas.previous_token_random IS 'The same on random tokens, the control';
COMMENT ON COLUMN head_atlas.induction IS 'Attention to the token after an earlier copy of this one, on repeated random tokens, in [0, 1]';
COMMENT ON COLUMN head_atlas.induction_shuffled IS 'The same with the second copy in random order, the control';
COMMENT ON COLUMN head_atlas.duplicate_token IS 'Attention to earlier copies of this token, on text, in [0, 1]';
COMMENT ON COLUMN head_atlas.bos IS 'Attention to the BOS, on text, in [0, 1]';
COMMENT ON COLUMN head_atlas.delimiter IS 'Attention to punctuation and line ends, on text, in [0, 1]';
COMMENT ON COLUMN head_atlas.successor IS 'Attention from each item of an ordered list to the item before, in [0, 1]';
COMMENT ON COLUMN head_atlas.successor_control IS 'The same on words without an order, the control';
COMMENT ON COLUMN head_atlas.s_inhibition IS 'Attention from the end of a sentence about two names to the repeated name, in [0, 1]';
COMMENT ON COLUMN head_atlas.attention_to_io IS 'The same to the name that is the answer';
COMMENT ON COLUMN head_atlas.attention_to_s1 IS 'The same to the first mention of the repeated name';
COMMENT ON COLUMN head_atlas.ov_copy IS 'What the head writes for a name alone adds to the logit of that name; positive copies';
COMMENT ON COLUMN head_atlas.ov_copy_gain IS 'The same with the gain of the final norm';
COMMENT ON COLUMN head_atlas.io_s_effect IS 'What removing the head changes in the logit difference of the two names';
COMMENT ON COLUMN head_atlas.profile_peak IS 'Attention at the offset that the head looks at most, on text, in [0, 1]';

CREATE VIEW strongest_heads AS
WITH ranked AS (
    SELECT *, rank() OVER ranking AS rank, first_value(lower) OVER ranking AS top_lower
    FROM head_scores
    WHERE sequence IS NULL
    WINDOW ranking AS (PARTITION BY run, model, text, score, data ORDER BY value DESC)
)
SELECT
    model,
    score,
    data,
    rank,
    'L' || layer || 'H' || head AS name,
    layer,
    head,
    value,
    lower,
    upper,
    n,
    chance,
    run
FROM ranked
WHERE (rank = 1 OR upper >= top_lower) AND (chance IS NULL OR value > chance);
COMMENT ON VIEW strongest_heads IS 'Per run, score and data: the head with the largest aggregate, and those whose interval reaches into its own; none that is not above chance';
COMMENT ON COLUMN strongest_heads.rank IS 'Rank of the aggregate within its run, score and data, 1 is the largest';
COMMENT ON COLUMN strongest_heads.name IS 'The head, as L1H4';

CREATE VIEW ablation_ranking AS
SELECT
    ablation_means.model,
    ablations.method,
    ablations.heads,
    ablation_means.scope,
    ablation_means.metric,
    rank() OVER (
        PARTITION BY ablation_means.run, ablations.method, ablation_means.scope, metric
        ORDER BY value DESC
    ) AS rank,
    value,
    lower,
    upper,
    n,
    run
FROM ablation_means JOIN ablations USING (run, condition)
WHERE ablations.family = 'single' AND ablations.draw IS NULL;
COMMENT ON VIEW ablation_ranking IS 'Single heads by what ablating them changes, per run, method, scope and metric';
COMMENT ON COLUMN ablation_ranking.rank IS 'Rank of the change within its run, method, scope and metric, 1 is the largest';

CREATE VIEW verdicts AS
SELECT
    claims.*,
    runs.model,
    runs.version,
    runs.started,
    runs.git
FROM claims JOIN runs USING (run);
COMMENT ON VIEW verdicts IS 'Every claim with its verdict and the run that weighed it';

CREATE VIEW published_drops AS
WITH of_file AS (
    SELECT run, method, family, size, avg(drop) AS drop
    FROM published_curves
    WHERE family <> 'base'
    GROUP BY ALL
)
SELECT
    method,
    size,
    100 * avg(drop) FILTER (WHERE family = 'top') AS top,
    100 * avg(drop) FILTER (WHERE family = 'random') AS random,
    count(DISTINCT run) AS files
FROM of_file
GROUP BY method, size;
COMMENT ON VIEW published_drops IS 'Mean drop of accuracy in points by method and heads ablated, recomputed from imported result files: base minus ablated, averaged within each file, then over files';
COMMENT ON COLUMN published_drops.top IS 'Mean drop without the top heads, in points; NULL without any';
COMMENT ON COLUMN published_drops.random IS 'Mean drop without random heads, in points; NULL without any';
COMMENT ON COLUMN published_drops.files IS 'Files averaged';

CREATE VIEW speed AS
WITH laps AS (
    SELECT timings.*, timings.seconds / ours.seconds AS ratio, ours.seconds AS our_seconds
    FROM timings LEFT JOIN timings AS ours
        ON ours.run = timings.run AND ours.lap = timings.lap AND ours.contender = 'ours, float32'
),
contenders AS (
    SELECT
        run,
        contender,
        any_value(package) AS package,
        bool_or(preview) AS preview,
        count(lap) AS laps,
        median(seconds) AS seconds,
        min(seconds) AS fastest,
        max(seconds) AS slowest,
        median(seconds) / median(our_seconds) AS ratio,
        min(ratio) AS ratio_lower,
        max(ratio) AS ratio_upper,
        max(extra_bytes) AS extra_bytes,
        any_value(difference) AS difference,
        bool_and(agrees) AS agrees,
        any_value(relative_error) AS relative_error,
        any_value(largest_relative_error) AS largest_relative_error,
        any_value(rank_correlation) AS rank_correlation,
        any_value(flops) AS flops,
        median(share) AS share,
        any_value(absence) AS absence
    FROM laps
    GROUP BY run, contender
)
SELECT
    races.task,
    races.model,
    contenders.* EXCLUDE (run),
    races.* EXCLUDE (run, task, model, flops),
    runs.started,
    run
FROM races JOIN contenders USING (run) JOIN runs USING (run);
COMMENT ON VIEW speed IS 'Every contender of every race: seconds, how many times as long as ours in the same race, memory, agreement, and the machine';
COMMENT ON COLUMN speed.laps IS 'Laps; 0 for a contender that took no part';
COMMENT ON COLUMN speed.seconds IS 'Median over laps, for all heads';
COMMENT ON COLUMN speed.fastest IS 'The fastest lap, in seconds';
COMMENT ON COLUMN speed.slowest IS 'The slowest lap, in seconds';
COMMENT ON COLUMN speed.ratio IS 'How many times as long as ours in float32 it took, by medians: above 1 is slower than ours';
COMMENT ON COLUMN speed.ratio_lower IS 'The smallest ratio within one round';
COMMENT ON COLUMN speed.ratio_upper IS 'The largest ratio within one round';
COMMENT ON COLUMN speed.extra_bytes IS 'Largest over laps';
COMMENT ON COLUMN speed.share IS 'Median over laps';
