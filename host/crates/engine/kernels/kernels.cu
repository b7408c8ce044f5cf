// All kernels in one translation unit.
#include "activation.cu"
#include "attention.cu"
#include "attention_cached.cu"
#include "attention_tensor.cu"
#include "elementwise.cu"
#include "loss.cu"
#include "norm.cu"
#include "optimizer.cu"
#include "rotary.cu"
#include "unpack.cu"

#ifdef EMULATED
#define NAME(name) emulated::named(#name, NAMED(name))
static const emulated::Kernel all[] = {
    NAME(rms_norm), NAME(rms_norm_backward), NAME(layer_norm), NAME(layer_norm_backward), NAME(rotary), NAME(activate),
    NAME(activate_backward), NAME(cross_entropy), NAME(cross_entropy_gradient), NAME(squares), NAME(adamw), NAME(place),
    NAME(add_scaled), NAME(add_bias), NAME(columns), NAME(column_sums), NAME(row_norms), NAME(dropout), NAME(gather),
    NAME(scatter), NAME(exchange), NAME(narrow), NAME(unpack_nf4), NAME(unpack_q4_0), NAME(unpack_q4_1),
    NAME(unpack_q5_0), NAME(unpack_q5_1), NAME(unpack_q8_0), NAME(unpack_q4_k), NAME(unpack_q5_k), NAME(unpack_q6_k),
    NAME(attention_delta), NAME(keep), NAME(attention_step_64), NAME(attention_step_128), NAME(attention_step_256),
    NAME(soft_cap), NAME(root_factors), NAME(noise), NAME(gather_columns), NAME(put_columns), NAME(add_groups), NAME(add_up),
#ifdef ELEMENT_BF16
    NAME(attention_tensor_64), NAME(attention_tensor_128), NAME(attention_tensor_256), NAME(attention_tensor_queries_64),
    NAME(attention_tensor_queries_128), NAME(attention_tensor_queries_256), NAME(attention_tensor_keys_64),
    NAME(attention_tensor_keys_128), NAME(attention_tensor_keys_256),
#else
    NAME(attention_64), NAME(attention_128), NAME(attention_256), NAME(attention_queries_64), NAME(attention_queries_128),
    NAME(attention_queries_256), NAME(attention_keys_64), NAME(attention_keys_128), NAME(attention_keys_256),
#endif
};

extern "C" int NAMED(emulated_launch)(const char* name, const emulated::Launch* launch) {
    for (const emulated::Kernel& kernel : all)
        if (!strcmp(kernel.name, name)) return emulated::run(kernel, *launch);
    return 0;
}
#endif
