"""Attributes of Keras objects that steps do not read, and those that they do."""

from __future__ import annotations

from typing import Any

import keras

from kerasfit.object_origin import package_of

# Bookkeeping attributes of Keras, or of the backend's base class, on the parts of a model. No step computes
# with them, and some change in each step. Names that a version of Keras does not have are harmless.
BOOKKEEPING = frozenset(
    """
    _tracker _inbound_nodes _outbound_nodes _losses _loss_ids _losses_override _called _lock _path
    _parent_path _build_shapes_dict _call_signature _call_context_args _call_has_context_arg
    call_signature_parameters _call_has_training_arg _call_has_mask_arg _supports_masking
    _allow_non_tensor_positional_args _convert_input_args _auto_config _saved_model_inputs_spec
    _saved_model_arg_spec _api_export_path _input_spec name build quantize built autocast supports_jit
    quantization_config _dtype _direction _tracked _trainable_variables _non_trainable_variables
    _trainable_variables_indices _variables _metrics _seed_generators _exclude_from_weight_decay_cache
    _weight_decay_by_var_key
    _distribution_strategy _iterations _momentums _velocities _user_metrics _user_weighted_metrics
    _user_loss output_name output_names _resolved_output_names _y_pred_build_structure
    _y_true_build_structure _backward_hooks _backward_pre_hooks _buffers _forward_hooks
    _forward_hooks_always_called _forward_hooks_with_kwargs _forward_pre_hooks
    _forward_pre_hooks_with_kwargs _is_full_backward_hook _load_state_dict_post_hooks
    _load_state_dict_pre_hooks _non_persistent_buffers_set _parameters _state_dict_hooks
    _state_dict_pre_hooks _torch_params training _nodes _nodes_by_depth _operations _operations_by_depth
    _inputs _outputs _inputs_struct _outputs_struct _input_shape history stop_training stop_evaluating
    stop_predicting train_function test_function predict_function _compile_config
    _compiled_trainable_state _eval_epoch_iterator _initial_epoch compiled steps_per_execution
    unrolled_steps_per_execution _distribute_strategy _jax_state _jax_state_synced _run_eagerly
    _jit_compile _compute_loss_has_training_arg
    """.split()  # noqa: SIM905
)

OF_BASE_CLASSES = ("_self_", "_tf_", "_obj_reference", "_kerasfit")  # how other such attributes begin

# Attributes that are not part of a model's key: steps do not read them, or they follow from others. They are
# names, records of how an object was built and called, functions compiled earlier, and locks.
NOT_IN_KEYS = frozenset(
    """
    name _name path _path _parent_path _tracker _lock _auto_config _build_shapes_dict _call_signature
    _inbound_nodes _outbound_nodes _nodes _operations _operations_by_depth _called _losses _loss_ids build
    quantize _initializer _value _initial_seed backend _compile_config _compiled_trainable_state
    _initial_epoch history stop_training stop_evaluating stop_predicting train_function test_function
    predict_function steps_per_execution unrolled_steps_per_execution _eval_epoch_iterator _jax_state
    _jax_state_synced _trainable_variables_indices _exclude_from_weight_decay_cache
    _weight_decay_by_var_key output_name
    output_names _resolved_output_names _torch_params _parameters _modules _buffers get_build_config
    _trainable_variable_shardings _non_trainable_variable_shardings _optimizer_variable_shardings
    _metrics_variable_shardings
    """.split()  # noqa: SIM905
)
# what compile() adds to a model, which predictions do not read
COMPILED = frozenset("optimizer loss compiled _loss_tracker _compile_loss _compile_metrics".split())  # noqa: SIM905
# attributes by which, if they are set, a step depends on the names of layers or variables
REFER_TO_NAMES = frozenset(
    "_remat_mode _exclude_from_weight_decay _exclude_from_weight_decay_pattern".split()  # noqa: SIM905
)


# Objects that steps do not read: they never change, or were needed only to build the model.
OPAQUE = (keras.KerasTensor, keras.initializers.Initializer, keras.layers.InputLayer, keras.layers.InputSpec)


VARIABLE_SETTINGS = ("_trainable", "_regularizer", "_constraint", "_overwrite_with_gradient")


def is_bookkeeping(name: object) -> bool:
    """Whether an attribute is used by Keras or its backend only for bookkeeping, not in steps."""
    if not isinstance(name, str):
        return False
    return name in BOOKKEEPING or name.startswith(OF_BASE_CLASSES)


def has_settings(value: Any) -> bool:
    """Whether a Keras object has attributes that steps may read."""
    if isinstance(value, (type, *OPAQUE)) or package_of(type(value)) != "keras":
        return False
    kinds = ("Node", "KerasHistory", "SymbolicArguments", "Tracker", "SeedGenerator")
    return not type(value).__name__.endswith(("DTypePolicy", "DTypePolicyMap", *kinds))


def settings_of_variable(variable: keras.Variable) -> list[str]:
    """Return the names of a variable's attributes that steps read."""
    return [name for name in VARIABLE_SETTINGS if name in vars(variable)]
